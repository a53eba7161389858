// Package notify tells people and monitors what a command came to: by webhook, by mail, and by pings of a dead man's switch.
//
// A command ends with a Report. From it come Problems, and what a receiver was told already, its memory, decides whether a
// Message goes out: a new problem at once, the same one once a day, its end once. Pings go out at every start and end. All
// receivers are asked side by side, and all of them together have the time of Options.Patience.
//
// It must never change what a command comes to: what goes wrong here is given back as Failures, for the caller to say. It
// must never send a secret: every text goes through Options.Hide and the forms of scrub.go before it is put into a message, and
// receivers are called by their hosts, since the rest of a URL may be a secret too. It writes its memory and nothing else.
package notify
