package main

// What is at hand to every command, what a command has opened that reads, and a job share out their work by role. Each role has all of what it is a part of.

// keyCommands are those that make keys and change them.
type keyCommands struct{ *app }

// readCommands are those that look at points and give back what is in them.
type readCommands struct{ *app }

// careCommands are those that look after what is stored: locks, what is over, how the vaults are set up.
type careCommands struct{ *app }

// planCommands are those that say beforehand what others would do.
type planCommands struct{ *app }

// completion says what a shell can complete.
type completion struct{ *app }

// trusting asks people, and remembers, which repository is theirs.
type trusting struct{ *app }

// share makes the roles.
func (a *app) share() *app {
	a.standIns.env = a.env
	a.keys, a.reads, a.care, a.complete, a.trusts = &keyCommands{a}, &readCommands{a}, &careCommands{a}, &completion{a}, &trusting{a}
	a.notices = (&notices{app: a, began: a.now()}).share()
	a.plans = &planCommands{a}
	a.traces = &traces{}
	return a
}

// doctoring looks at a set-up.
type doctoring struct{ *job }

// drilling attacks a set-up.
type drilling struct{ *job }

// telling says what a run came to.
type telling struct{ *job }

// keyChanges prepares changes of keys.
type keyChanges struct{ *job }

// share makes the roles.
func (j *job) share() *job {
	j.heals, j.drills, j.tells, j.changes = &doctoring{j}, &drilling{j}, &telling{j}, &keyChanges{j}
	return j
}

// showing lists points and what is in them.
type showing struct{ *reading }

// pruning deletes what is over.
type pruning struct{ *reading }

// restoring gives back what a point has.
type restoring struct{ *reading }

// verifying holds a vault against what it should have.
type verifying struct{ *reading }

// renewing lengthens locks.
type renewing struct{ *reading }

// nextRuns says what the next run will do about what was found.
type nextRuns struct{ *reading }

// standings say how sources stand in a vault.
type standings struct{ *reading }

// share makes the roles.
func (r *reading) share() *reading {
	r.shows, r.prunes, r.restores, r.verifies, r.renews, r.runs = &showing{r}, &pruning{r}, &restoring{r}, &verifying{r}, &renewing{r}, &nextRuns{r}
	r.stands = &standings{r}
	return r
}
