package main

// prepareReading reads all that is needed before a vault is opened, and gives the vaults to try and the fingerprint that was asked for.
func prepareReading(a *app, f *readerFlags) (r *reading, places []place, pin string, err error) {
	r = (&reading{app: a, flags: f}).share()
	if pin, err = parsePin(f.fingerprint); err != nil {
		return nil, nil, "", err
	}
	if places, err = r.places(); err != nil {
		return nil, nil, "", err
	}
	if r.trust, err = a.trusts.knownRepository(r.config, pin); err != nil {
		return nil, nil, "", err
	}
	for _, path := range f.identities {
		ids, err := a.readIdentities(path)
		if err != nil {
			return nil, nil, "", err
		}
		r.ids = append(r.ids, ids...)
	}
	limitMemory(r.memory())
	return r, places, pin, nil
}
