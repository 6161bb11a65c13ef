package auth

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"time"
	"unsafe"

	"modelmanager.dev"
)

// How long answers are good for (docs/access.md).
const (
	allowedFor = 5 * time.Minute
	renewAfter = 4 * time.Minute // an answer in use is asked for anew before it is too old
	staleFor   = 15 * time.Minute
	deniedFor  = 10 * time.Second
)

// Options are all that an Auth is told.
type Options struct {
	Authenticator Authenticator
	Authorizer    Authorizer
	Entries       int          // answers remembered of each kind; default 50,000
	Logger        *slog.Logger // nil: slog.Default
}

// Auth checks callers. What was allowed is remembered for 5 minutes, and
// renewed before; what was denied, for 10 seconds. While a driver can't be
// asked, what was allowed stays so for 15 minutes, and never past the token's
// end. Tokens are remembered by their hash, and never logged.
type Auth struct {
	authenticator Authenticator
	authorizer    Authorizer
	identities    *memo[digest]
	decisions     *memo[key]
}

// digest is a token's hash.
type digest [sha256.Size]byte

type key struct {
	token  digest
	action Action
}

// New makes an Auth.
func New(options Options) *Auth {
	if options.Entries <= 0 {
		options.Entries = 50_000
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	return &Auth{
		authenticator: options.Authenticator,
		authorizer:    options.Authorizer,
		identities:    newMemo[digest](options.Entries, options.Logger),
		decisions:     newMemo[key](options.Entries, options.Logger),
	}
}

// Check returns who sent a token, if that one may do something. Its errors have
// CodeUnauthenticated, CodeForbidden, or CodeUnavailable if it can't be known now.
//
// It stands on the path of every prediction: where the answer is known, it is a
// hash and one or two looks into a map.
func (a *Auth) Check(ctx context.Context, token string, action Action) (*Identity, error) {
	now := time.Now()
	k := key{token: digestOf(token), action: action}
	if action == (Action{}) {
		if who := a.identities.fresh(k.token, now); who != nil {
			return who, nil
		}
		return a.identities.get(ctx, k.token, a.identify(token))
	}
	if who := a.decisions.fresh(k.onAll(), now); who != nil {
		return who, nil
	}
	if action.Model != "" {
		if who := a.decisions.fresh(k, now); who != nil {
			return who, nil
		}
	}
	return a.find(ctx, token, k)
}

// digestOf hashes a token where it lies: a copy of it would be the larger part
// of the work, and one more place in memory that has the token.
func digestOf(token string) digest {
	return sha256.Sum256(unsafe.Slice(unsafe.StringData(token), len(token)))
}

// onAll is the same about all models.
func (k key) onAll() key {
	k.action.Model = ""
	return k
}

// find asks. What somebody may do with all models is looked at first, so that
// a program that calls thousands of them doesn't ask about each; but where one
// of both answers is known, though old, that one is renewed.
func (a *Auth) find(ctx context.Context, token string, k key) (*Identity, error) {
	if !a.identities.known(k.token) { // made-up tokens lead to no questions about rights
		if who, err := a.identities.get(ctx, k.token, a.identify(token)); err != nil {
			return who, err
		}
	}
	keys := []key{k.onAll(), k}
	switch {
	case k.action.Model == "":
		keys = keys[1:]
	case a.decisions.known(k) && !a.decisions.known(k.onAll()):
		keys = []key{k, k.onAll()}
	}
	var refused error
	for _, one := range keys {
		who, err := a.decisions.get(ctx, one, func(ctx context.Context) (finding, error) { return a.decide(ctx, token, one) })
		if err == nil || modelmanager.CodeOf(err) != modelmanager.CodeForbidden {
			return who, err
		}
		if one == k {
			refused = err // it names the model
		}
	}
	return nil, refused
}

// identify asks whose token it is.
func (a *Auth) identify(token string) func(context.Context) (finding, error) {
	return func(ctx context.Context) (finding, error) {
		asked := time.Now()
		who, err := a.authenticator.Authenticate(ctx, token)
		return finding{who: &who, asked: asked}, err
	}
}

// decide is as old as the answer to who it is.
func (a *Auth) decide(ctx context.Context, token string, k key) (finding, error) {
	who, err := a.identities.renewed(ctx, k.token, a.identify(token))
	if err != nil {
		return finding{}, err
	}
	asked := time.Now()
	if known, ok := a.identities.asked(k.token); ok {
		asked = known
	}
	decision, err := a.authorizer.Authorize(ctx, *who, k.action)
	if err != nil {
		return finding{}, err
	}
	if !decision.Allowed {
		return finding{}, forbidden(who, k.action, decision.Needs)
	}
	return finding{who: who, asked: asked}, nil
}

func forbidden(who *Identity, action Action, needs string) error {
	what := string(action.Verb)
	switch {
	case action.Path != "":
		what += " " + action.Path
	case action.Model == "":
		what += " all models"
	default:
		what += " the model " + action.Model
	}
	if needs == "" {
		needs = "that right"
	}
	return modelmanager.Errorf(modelmanager.CodeForbidden, "%s may not %s; the operator can grant %s", who.Name, what, needs)
}
