package main

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/holdfast-backup/holdfast/replicator/notify/notifytest"
)

// What scripts are told to: servers for messages, each with a name that is also a variable with its address.

type receiversKey struct{}

// receivers are the servers of one script.
type receivers struct {
	hooks map[string]*notifytest.Hook
	posts map[string]*notifytest.Post
	seen  map[string]int // requests and letters that the script looked at
}

func withReceivers(e *testscript.Env) {
	e.Values[receiversKey{}] = &receivers{map[string]*notifytest.Hook{}, map[string]*notifytest.Post{}, map[string]int{}}
}

func receiverCommands() map[string]scriptCommand {
	of := func(do func(r *receivers, ts *testscript.TestScript, args []string)) scriptCommand {
		return func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) == 0 {
				ts.Fatalf("usage: hook NAME, answers NAME CODE, post NAME SECURE [LOGIN], slow NAME, received NAME")
			}
			do(ts.Value(receiversKey{}).(*receivers), ts, args)
		}
	}
	return map[string]scriptCommand{"hook": of((*receivers).hook), "answers": of((*receivers).answers), "post": of((*receivers).post), "slow": of((*receivers).slow), "received": of((*receivers).received)}
}

// hook NAME starts a server for webhooks and pings.
func (r *receivers) hook(ts *testscript.TestScript, args []string) {
	h := notifytest.StartHook(false)
	ts.Defer(h.Close)
	r.hooks[args[0]] = h
	ts.Setenv(args[0], h.URL)
}

// answers NAME CODE has a hook answer so from now on.
func (r *receivers) answers(ts *testscript.TestScript, args []string) {
	code, err := strconv.Atoi(args[1])
	ts.Check(err)
	r.hooks[args[0]].Answer(func(_ int, w http.ResponseWriter) { w.WriteHeader(code) })
}

// post NAME SECURE [LOGIN] starts a mail server, and has the program trust its certificate. SECURE is starttls, implicit or none.
func (r *receivers) post(ts *testscript.TestScript, args []string) {
	login := ""
	if len(args) > 2 {
		login = args[2]
	}
	p, err := notifytest.StartPost(notifytest.Secure(args[1]), login)
	ts.Check(err)
	ts.Defer(p.Close)
	r.posts[args[0]] = p
	ts.Setenv(args[0], p.Addr)
	file := ts.MkAbs(args[0] + ".pem")
	ts.Check(os.WriteFile(file, p.PEM(), 0o600))
	ts.Setenv("SSL_CERT_FILE", file)
}

// slow NAME starts a server that never says anything.
func (r *receivers) slow(ts *testscript.TestScript, args []string) {
	s, err := notifytest.StartSlow("")
	ts.Check(err)
	ts.Defer(s.Close)
	ts.Setenv(args[0], s.Addr)
}

// received NAME writes what came since it was last called: NAME.json has the bodies of webhooks, a line each, NAME.text everything
// else that came: lines `POST PATH`, and bodies or mails.
func (r *receivers) received(ts *testscript.TestScript, args []string) {
	var bodies, text strings.Builder
	name := args[0]
	if h := r.hooks[name]; h != nil {
		all := h.Requests()
		for _, q := range all[r.seen[name]:] {
			fmt.Fprintf(&text, "POST %s %s\n", q.Path, q.Header.Get("Holdfast-Signature"))
			if strings.HasPrefix(q.Body, "{") {
				bodies.WriteString(q.Body + "\n")
			} else if q.Body != "" {
				text.WriteString(q.Body + "\n")
			}
		}
		r.seen[name] = len(all)
	} else {
		all := r.posts[name].Letters()
		for _, l := range all[r.seen[name]:] {
			fmt.Fprintf(&text, "FROM %s TO %s TLS %v LOGIN %s\n%s\n", l.From, strings.Join(l.To, ","), l.TLS, l.Login, strings.ReplaceAll(l.Text, "\r\n", "\n"))
		}
		r.seen[name] = len(all)
	}
	ts.Check(os.WriteFile(ts.MkAbs(name+".json"), []byte(bodies.String()), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(name+".text"), []byte(text.String()), 0o600))
}
