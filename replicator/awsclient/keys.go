package awsclient

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/middleware"

	"github.com/holdfast-backup/holdfast/store"
)

// Signed gives what every client is made with: credentials (nil: none, for what is public), and the APIOptions that hold its
// answers to their limits and read refused credentials again. content names the operations whose answers are content.
func Signed(get store.CredentialsFunc, content ...string) (aws.CredentialsProvider, []func(*middleware.Stack) error) {
	if get == nil {
		return aws.AnonymousCredentials{}, Stack(content...)
	}
	k := NewKeys(get)
	return k, append(Stack(content...), k.Stack)
}

const (
	renewBefore = 5 * time.Minute // how long before their end credentials are asked for again
	vagueEvery  = time.Minute     // a refusal that may be about anything has them read again so often
)

// Keys gives an SDK client our credentials. They are asked for again shortly before they end, and when a server refuses
// them: a file or profile that was renewed while a run goes on is so taken up. However many requests are refused at once,
// they are read again once.
type Keys struct {
	get   store.CredentialsFunc
	token chan struct{} // held by who reads or changes the rest
	have  aws.Credentials
	turn  int // counts renewals; 0: none yet
	vague time.Time
}

// NewKeys makes Keys; get is required.
func NewKeys(get store.CredentialsFunc) *Keys {
	k := &Keys{get: get, token: make(chan struct{}, 1)}
	k.token <- struct{}{}
	return k
}

// lock waits for the others, but not longer than ctx.
func (k *Keys) lock(ctx context.Context) error {
	select {
	case <-k.token:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (k *Keys) unlock() { k.token <- struct{}{} }

// Retrieve implements aws.CredentialsProvider.
func (k *Keys) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if err := k.lock(ctx); err != nil {
		return aws.Credentials{}, err
	}
	defer k.unlock()
	if k.turn > 0 && (!k.have.CanExpire || time.Until(k.have.Expires) > renewBefore) {
		return k.have, nil
	}
	fresh, err := k.read(ctx)
	if err != nil {
		if k.turn > 0 && time.Now().Before(k.have.Expires) && ctx.Err() == nil {
			return k.have, nil // still good; the next request asks again
		}
		return aws.Credentials{}, err
	}
	k.take(fresh)
	return fresh, nil
}

func (k *Keys) take(c aws.Credentials) { k.have, k.turn = c, k.turn+1 }

func (k *Keys) read(ctx context.Context) (aws.Credentials, error) {
	c, err := k.get(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return aws.Credentials{}, err
	case err != nil:
		return aws.Credentials{}, fmt.Errorf("%w: %w", store.ErrCredentials, err)
	case c.AccessKeyID == "" || c.SecretAccessKey == "":
		return aws.Credentials{}, fmt.Errorf("%w: empty access key or secret", store.ErrCredentials) // never go on unsigned
	}
	return aws.Credentials{
		AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken,
		CanExpire: !c.Expires.IsZero(), Expires: c.Expires, Source: "holdfast",
	}, nil
}

// turnNow is which renewal a request that begins now is signed with, or with a later one.
func (k *Keys) turnNow(ctx context.Context) int {
	if k.lock(ctx) != nil {
		return 0
	}
	defer k.unlock()
	return k.turn
}

// renew reads the credentials again after those of a turn were refused, and reports whether there are others now.
func (k *Keys) renew(ctx context.Context, refused int, vague bool) bool {
	if k.lock(ctx) != nil {
		return false
	}
	defer k.unlock()
	if refused == 0 {
		refused = 1 // the request itself asked for the first
	}
	if k.turn != refused {
		return k.turn > refused
	}
	if vague {
		if time.Since(k.vague) < vagueEvery {
			return false
		}
		k.vague = time.Now()
	}
	fresh, err := k.read(ctx)
	if err != nil || same(fresh, k.have) {
		return false
	}
	k.take(fresh)
	return true
}

func same(a, b aws.Credentials) bool {
	return a.AccessKeyID == b.AccessKeyID && a.SecretAccessKey == b.SecretAccessKey && a.SessionToken == b.SessionToken
}

// Stack is added to a client's APIOptions: a request that was refused for its credentials is made again if there are
// others by now. It counts as one of the tries.
func (k *Keys) Stack(s *middleware.Stack) error {
	return s.Finalize.Insert(middleware.FinalizeMiddlewareFunc("holdfast.renewKeys", func(
		ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
	) (middleware.FinalizeOutput, middleware.Metadata, error) {
		turn := k.turnNow(ctx)
		out, md, err := next.HandleFinalize(ctx, in)
		if err == nil {
			return out, md, nil
		}
		if refused, vague := Refused(err); refused && k.renew(ctx, turn, vague) {
			err = &renewed{err}
		}
		return out, md, err
	}), "Retry", middleware.After)
}

// renewed is a refusal of credentials that have others by now.
type renewed struct{ err error }

func (r *renewed) Error() string { return r.err.Error() }
func (r *renewed) Unwrap() error { return r.err }

// RetryableError tells the SDK's retryer.
func (*renewed) RetryableError() bool { return true }

// Refused reports whether err says that the credentials themselves were not taken. vague: it may be about a right as well.
func Refused(err error) (refused, vague bool) {
	a := AnswerOf(err)
	switch {
	case outdated(a.Code):
		return true, false
	case a.Status == 0:
		return false, false
	}
	// The answer to a HEAD has no body and so no code; some vendors call a key that is no more a denial.
	return a.Status == http.StatusForbidden || a.Status == http.StatusUnauthorized, true
}
