package auth_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/auth"
	"modelmanager.dev/internal/auth/local"
)

// office knows everybody, and what everybody may do; it counts who asks.
type office struct {
	mu      sync.Mutex
	tokens  map[string]auth.Identity
	allowed map[auth.Action]bool
	closed  error         // what it says instead
	slow    time.Duration // how long it takes
	whose   int
	may     []auth.Action
}

func (o *office) Authenticate(ctx context.Context, token string) (auth.Identity, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.whose++
	if err := o.wait(ctx); err != nil {
		return auth.Identity{}, err
	}
	who, ok := o.tokens[token]
	if !ok || !who.Expires.IsZero() && !time.Now().Before(who.Expires) {
		return auth.Identity{}, modelmanager.Errorf(modelmanager.CodeUnauthenticated, "nobody's token")
	}
	return who, nil
}

func (o *office) Authorize(ctx context.Context, _ auth.Identity, action auth.Action) (auth.Decision, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.may = append(o.may, action)
	if err := o.wait(ctx); err != nil {
		return auth.Decision{}, err
	}
	return auth.Decision{Allowed: o.allowed[action], Needs: "it"}, nil
}

func (o *office) wait(ctx context.Context) error {
	if o.slow > 0 {
		slow := o.slow
		o.mu.Unlock()
		defer o.mu.Lock()
		select {
		case <-time.After(slow):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return o.closed
}

// asked tells how often somebody asked since the last time.
func (o *office) asked() (whose, may int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	whose, may = o.whose, len(o.may)
	o.whose, o.may = 0, nil
	return whose, may
}

func (o *office) set(change func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change()
}

var (
	predict    = auth.Action{Verb: auth.Predict, Model: "scorer"}
	predictAll = auth.Action{Verb: auth.Predict}
)

func newOffice() *office {
	return &office{
		tokens:  map[string]auth.Identity{"ann": {Name: "ann"}, "bob": {Name: "bob"}},
		allowed: map[auth.Action]bool{predict: true},
	}
}

func newAuth(o *office) *auth.Auth {
	return auth.New(auth.Options{Authenticator: o, Authorizer: o, Logger: slog.New(slog.DiscardHandler)})
}

// check checks, and compares with the code that is expected; "" is allowed.
func check(t *testing.T, a *auth.Auth, token string, action auth.Action, want modelmanager.Code) {
	t.Helper()
	who, err := a.Check(t.Context(), token, action)
	if modelmanager.CodeOf(err) != want || (err == nil) != (who != nil) || err == nil && who.Name != token {
		t.Fatalf("%s %+v: %+v, %v (%s); want %q", token, action, who, err, modelmanager.CodeOf(err), want)
	}
}

func expect(t *testing.T, o *office, whose, may int) {
	t.Helper()
	synctest.Wait()
	if gotWhose, gotMay := o.asked(); gotWhose != whose || gotMay != may {
		t.Fatalf("asked %d times who it is and %d times about rights; want %d and %d", gotWhose, gotMay, whose, may)
	}
}

func TestAllowedIsRememberedFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice()
		a := newAuth(o)
		check(t, a, "ann", predict, "")
		expect(t, o, 1, 2) // about all models, and about this
		for range 3 {
			time.Sleep(79 * time.Second)
			check(t, a, "ann", predict, "")
			expect(t, o, 0, 0)
		}
		o.set(func() { delete(o.allowed, predict) })
		time.Sleep(5*time.Minute - 3*79*time.Second) // nobody asked since the fourth minute
		check(t, a, "ann", predict, modelmanager.CodeForbidden)
	})
}

func TestWhatIsInUseIsRenewedBeforeItIsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice()
		a := newAuth(o)
		check(t, a, "ann", predict, "")
		expect(t, o, 1, 2)
		o.set(func() { o.slow = 2 * time.Second })
		time.Sleep(4*time.Minute + time.Second)
		begin := time.Now()
		check(t, a, "ann", predict, "")
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("a caller waited %v for a renewal", waited)
		}
		time.Sleep(10 * time.Second)
		expect(t, o, 1, 1)
		time.Sleep(3 * time.Minute)
		check(t, a, "ann", predict, "")
		expect(t, o, 0, 0)
	})
}

func TestARightThatIsTakenAwayEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice()
		a := newAuth(o)
		check(t, a, "ann", predict, "")
		o.set(func() { delete(o.allowed, predict) })
		refused := time.Duration(0)
		for begin := time.Now(); refused == 0; time.Sleep(time.Second) {
			if _, err := a.Check(t.Context(), "ann", predict); err != nil {
				refused = time.Since(begin)
			}
		}
		if refused > 5*time.Minute {
			t.Errorf("it lasted %v", refused)
		}
	})
}

func TestDeniedIsRememberedTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice()
		a := newAuth(o)
		other := auth.Action{Verb: auth.Publish, Model: "scorer"}
		check(t, a, "ann", other, modelmanager.CodeForbidden)
		check(t, a, "eve", other, modelmanager.CodeUnauthenticated)
		check(t, a, "eve", predict, modelmanager.CodeUnauthenticated) // one question for all that a bad token asks for
		expect(t, o, 2, 2)
		time.Sleep(9 * time.Second)
		o.set(func() { o.allowed[other], o.tokens["eve"] = true, auth.Identity{Name: "eve"} })
		check(t, a, "ann", other, modelmanager.CodeForbidden)
		check(t, a, "eve", other, modelmanager.CodeUnauthenticated)
		expect(t, o, 0, 0)
		time.Sleep(time.Second)
		check(t, a, "ann", other, "")
		check(t, a, "eve", other, "")
	})
}

func TestARightOnAllModelsIsAskedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice()
		o.allowed = map[auth.Action]bool{predictAll: true}
		a := newAuth(o)
		for i := range 1000 {
			check(t, a, "ann", auth.Action{Verb: auth.Predict, Model: fmt.Sprint("model-", i)}, "")
		}
		expect(t, o, 1, 1)
		check(t, a, "bob", predictAll, "")
		expect(t, o, 1, 1)
	})
}

func TestTheRightIsOfTheTokenTheVerbAndTheModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice()
		a := newAuth(o)
		check(t, a, "ann", predict, "")
		check(t, a, "ann", predictAll, modelmanager.CodeForbidden)
		check(t, a, "ann", auth.Action{Verb: auth.Predict, Model: "scorer-2"}, modelmanager.CodeForbidden)
		check(t, a, "ann", auth.Action{Verb: auth.Get, Model: "scorer"}, modelmanager.CodeForbidden)
		check(t, a, "ann", auth.Action{Verb: auth.Predict, Path: "/metrics"}, modelmanager.CodeForbidden)
		check(t, a, "ann", auth.Action{}, "")
		check(t, a, "eve", auth.Action{}, modelmanager.CodeUnauthenticated)
		check(t, a, "eve", predict, modelmanager.CodeUnauthenticated)
		_, err := a.Check(t.Context(), "ann", auth.Action{Verb: auth.Get, Model: "scorer"})
		if err == nil || !strings.Contains(err.Error(), "ann") || !strings.Contains(err.Error(), "get") || !strings.Contains(err.Error(), "scorer") {
			t.Errorf("the refusal doesn't say who may not do what: %v", err)
		}
	})
}

// TestAway: while nobody can be asked, what was allowed stays so for a quarter
// of an hour, what wasn't is no more than unknown, and nobody waits long.
func TestAway(t *testing.T) {
	for name, fault := range map[string]func(o *office){
		"refusing": func(o *office) { o.closed = errors.New("connection refused") },
		"silent":   func(o *office) { o.slow = time.Hour },
	} {
		for _, busy := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, busy %t", name, busy), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testAway(t, fault, busy) })
			})
		}
	}
}

func testAway(t *testing.T, fault func(*office), busy bool) {
	o := newOffice()
	a := newAuth(o)
	check(t, a, "ann", predict, "")
	begin := time.Now()
	o.set(func() { fault(o) })
	check(t, a, "bob", predict, modelmanager.CodeUnavailable)
	expect(t, o, 2, 2)
	if !busy {
		time.Sleep(14 * time.Minute)
	}
	waited := time.Duration(0)
	for time.Since(begin) < 15*time.Minute-time.Second {
		called := time.Now()
		check(t, a, "ann", predict, "")
		waited = max(waited, time.Since(called))
		time.Sleep(100 * time.Millisecond)
	}
	if waited > time.Second || busy && waited > 0 {
		t.Errorf("a caller waited %v", waited)
	}
	if whose, may := o.asked(); whose+may > 300 {
		t.Errorf("asked %d times while nobody answered", whose+may)
	}
	time.Sleep(time.Second)
	check(t, a, "ann", predict, modelmanager.CodeUnavailable)
	o.set(func() { o.closed, o.slow = nil, 0 })
	time.Sleep(10 * time.Second) // a question under way may still be lost
	check(t, a, "ann", predict, "")
}

func TestBackAfterBeingAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice()
		a := newAuth(o)
		check(t, a, "ann", predict, "")
		o.set(func() { o.closed = errors.New("gone") })
		for range 8 * 60 {
			time.Sleep(time.Second)
			check(t, a, "ann", predict, "")
		}
		o.set(func() { o.closed = nil; delete(o.allowed, predict) })
		for range 10 { // within seconds it is known what holds now
			time.Sleep(time.Second)
			_, _ = a.Check(t.Context(), "ann", predict)
		}
		synctest.Wait()
		check(t, a, "ann", predict, modelmanager.CodeForbidden)
	})
}

func TestNothingOutlivesTheToken(t *testing.T) {
	for _, away := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			o := newOffice()
			end := time.Now().Add(90 * time.Second)
			o.tokens["ann"] = auth.Identity{Name: "ann", Expires: end}
			a := newAuth(o)
			check(t, a, "ann", predict, "")
			if away {
				o.set(func() { o.closed = errors.New("gone") })
			}
			time.Sleep(time.Until(end) - 1)
			check(t, a, "ann", predict, "")
			time.Sleep(time.Nanosecond)
			want := modelmanager.CodeUnauthenticated
			if away {
				want = modelmanager.CodeUnavailable
			}
			check(t, a, "ann", predict, want)
			check(t, a, "ann", auth.Action{}, want)
		})
	}
}

func TestManyWhoAskTheSameAskOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice()
		o.slow = time.Second
		a := newAuth(o)
		gone, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { // the first goes away; the others wait on
			if _, err := a.Check(gone, "ann", predict); !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		})
		synctest.Wait()
		for range 100 {
			group.Go(func() {
				if _, err := a.Check(t.Context(), "ann", predict); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		cancel()
		group.Wait()
		expect(t, o, 1, 2)
	})
}

// TestAFloodOfBadTokens: made-up tokens take no room from good ones, and only
// so many questions are under way at once.
func TestAFloodOfBadTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice()
		a := auth.New(auth.Options{Authenticator: o, Authorizer: o, Entries: 100, Logger: slog.New(slog.DiscardHandler)})
		check(t, a, "ann", predict, "")
		for i := range 5000 {
			check(t, a, fmt.Sprint("made up ", i), predict, modelmanager.CodeUnauthenticated)
		}
		o.asked()
		check(t, a, "ann", predict, "")
		expect(t, o, 0, 0)
		o.set(func() { o.slow = 2 * time.Second })
		var group sync.WaitGroup
		for i := range 500 {
			group.Go(func() { _, _ = a.Check(t.Context(), fmt.Sprint("another ", i), predict) })
		}
		synctest.Wait()
		if whose, _ := o.asked(); whose != 64 {
			t.Errorf("%d questions at once", whose)
		}
		group.Wait()
		if a.Size() > 4*100 {
			t.Errorf("%d entries are remembered", a.Size())
		}
	})
}

func TestTokensOfRequests(t *testing.T) {
	for header, want := range map[string]string{
		"": "", "Bearer": "", "Bearer ": "", "Bearer abc": "abc", "bearer  abc ": "abc", "BEARER a.b.c": "a.b.c",
		"Basic abc": "", "abc": "", "Bearer " + strings.Repeat("x", 17<<10): "",
	} {
		if got := auth.Token(http.Header{"Authorization": {header}}); got != want {
			t.Errorf("%.20q: %.20q", header, got)
		}
	}
	if got := auth.Token(http.Header{}); got != "" {
		t.Errorf("%q", got)
	}
}

// jwt writes a token that nobody has signed.
func jwt(payload string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
}

func TestClaims(t *testing.T) {
	claims, ok := auth.ReadClaims(jwt(`{"iss": "https://a", "aud": "x", "exp": 1800000000}`))
	if !ok || claims.Issuer != "https://a" || len(claims.Audience) != 1 || claims.Audience[0] != "x" || claims.Expires.Unix() != 1800000000 {
		t.Errorf("%+v", claims)
	}
	claims, ok = auth.ReadClaims(jwt(`{"iss": "https://a", "aud": ["x", "y"]}`))
	if !ok || len(claims.Audience) != 2 || !claims.Expires.IsZero() {
		t.Errorf("%+v", claims)
	}
	for _, bad := range []string{"", "a", "a.b", "a.b.c", "a.b.c.d", jwt("[]"), jwt(`{"exp": "soon"}`), jwt(`{"exp": 1e99}`), jwt(`{"exp": -1}`), jwt(`{"aud": 1}`), jwt(`{"iss": {}}`)} {
		if claims, ok := auth.ReadClaims(bad); ok {
			t.Errorf("%q has claims %+v", bad, claims)
		}
	}
}

func TestEachTokenGoesToWhoKnowsIt(t *testing.T) {
	people, cluster := newOffice(), newOffice()
	chain := auth.ByIssuer(cluster, map[string]auth.Authenticator{"https://people": people})
	in := func(d time.Duration) string { return fmt.Sprint(time.Now().Add(d).Unix()) }
	for _, c := range []struct {
		token           string
		people, cluster int
	}{
		{"ann", 0, 1}, {"", 0, 1}, {jwt(`{"iss": "https://people"}`), 1, 0}, {jwt(`{"iss": "https://other"}`), 0, 1},
		{jwt(`{}`), 0, 1}, {jwt(`{"iss": "https://people", "exp": ` + in(time.Minute) + `}`), 1, 0},
		{jwt(`{"iss": "https://people", "exp": ` + in(-time.Minute) + `}`), 0, 0},
		{jwt(`{"iss": "https://other", "exp": ` + in(-time.Minute) + `}`), 0, 0},
	} {
		_, err := chain.Authenticate(t.Context(), c.token)
		toPeople, _ := people.asked()
		toCluster, _ := cluster.asked()
		if toPeople != c.people || toCluster != c.cluster || c.token != "ann" && modelmanager.CodeOf(err) != modelmanager.CodeUnauthenticated {
			t.Errorf("%q: %d, %d, %v", c.token, toPeople, toCluster, err)
		}
	}
}

func TestOneMachine(t *testing.T) {
	a := auth.New(auth.Options{Authenticator: local.Everybody{}, Authorizer: local.Everybody{}})
	for _, token := range []string{"", "anything"} {
		for _, action := range []auth.Action{{}, predict, {Verb: auth.Retire}, {Verb: auth.Get, Path: "/metrics"}} {
			if who, err := a.Check(t.Context(), token, action); err != nil || who.Name != "local" {
				t.Errorf("%+v %v", who, err)
			}
		}
	}
}

func TestCheckingWhatIsKnownAllocatesNothing(t *testing.T) {
	o := newOffice()
	a := newAuth(o)
	if n := testing.AllocsPerRun(100, func() { check(t, a, "ann", predict, "") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkCheck is what a prediction pays, with a token as Kubernetes makes them.
func BenchmarkCheck(b *testing.B) {
	token := strings.Repeat("x", 950)
	for name, allowed := range map[string]auth.Action{"all": predictAll, "one": predict} {
		o := newOffice()
		o.tokens[token] = auth.Identity{Name: "app"}
		o.allowed = map[auth.Action]bool{allowed: true}
		a := newAuth(o)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			ctx := b.Context()
			for b.Loop() {
				if _, err := a.Check(ctx, token, predict); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func FuzzReadClaims(f *testing.F) {
	for _, seed := range []string{"", "a.b.c", jwt("{}"), jwt(`{"iss": "https://a", "aud": ["x"], "exp": 1800000000.5}`), jwt(`{"exp": 1e18}`)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		claims, ok := auth.ReadClaims(token)
		if !ok && (claims.Issuer != "" || claims.Audience != nil || !claims.Expires.IsZero()) {
			t.Errorf("%+v of no token", claims)
		}
	})
}
