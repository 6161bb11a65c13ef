package kube_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"modelmanager.dev/internal/kubetest"
	"modelmanager.dev/internal/leader"
	"modelmanager.dev/internal/leader/kube"
)

var _ leader.Elector = (*kube.Elector)(nil)

// Times short enough for a test, in the proportion of the real ones.
const (
	leaseFor = 3 * time.Second
	renewFor = 2 * time.Second
	retry    = 200 * time.Millisecond
)

// reign watches who leads.
type reign struct {
	t  *testing.T
	mu sync.Mutex
	// who leads now, by server; and each beginning, in order
	now   map[string]bool
	begun []string
	told  chan struct{}
}

func newReign(t *testing.T) *reign {
	return &reign{t: t, now: map[string]bool{}, told: make(chan struct{}, 1)}
}

func (r *reign) change(server string, leads bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if leads {
		for other := range r.now {
			r.t.Errorf("%s leads while %s does", server, other)
		}
		r.now[server] = true
		r.begun = append(r.begun, server)
	} else {
		delete(r.now, server)
	}
	select {
	case r.told <- struct{}{}:
	default:
	}
}

// lead is a loop of a server: it takes a moment to end.
func (r *reign) lead(server string, ending time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		r.change(server, true)
		defer r.change(server, false)
		<-ctx.Done()
		<-time.After(ending)
		return ctx.Err()
	}
}

// await waits until what holds of who leads does, and tells how long it took.
func (r *reign) await(what string, holds func(leader string) bool) time.Duration {
	r.t.Helper()
	begin, limit := time.Now(), time.After(30*time.Second)
	for {
		r.mu.Lock()
		leader := ""
		for server := range r.now {
			leader = server
		}
		r.mu.Unlock()
		if holds(leader) {
			return time.Since(begin)
		}
		select {
		case <-r.told:
		case <-limit:
			r.t.Fatalf("%s: %q leads", what, leader)
		}
	}
}

func (r *reign) awaitLeader(want string) time.Duration {
	r.t.Helper()
	return r.await("waiting for "+want+" to lead", func(leader string) bool { return leader == want })
}

// server runs an elector until it is ended.
func (r *reign) server(config *rest.Config, namespace, name string, lead func(context.Context) error) (end func() error) {
	r.t.Helper()
	e, err := kube.New(config, kube.Options{
		Namespace: namespace, Identity: name, Lease: leaseFor, Renew: renewFor, Retry: retry, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx, lead) }()
	end = sync.OnceValue(func() error { cancel(); return <-ended })
	r.t.Cleanup(func() { _ = end() })
	return end
}

func TestOneLeadsAndHandsOver(t *testing.T) {
	config := kubetest.Config(t)
	namespace := kubetest.Namespace(t, config)
	r := newReign(t)
	endFirst := r.server(config, namespace, "first", r.lead("first", 0))
	r.awaitLeader("first")
	endSecond := r.server(config, namespace, "second", r.lead("second", 0))
	if err := endFirst(); err != nil {
		t.Error(err)
	}
	if took := r.awaitLeader("second"); took > leaseFor/2 {
		t.Errorf("a released lease was taken after %v", took)
	}
	if err := endSecond(); err != nil {
		t.Error(err)
	}
}

func TestTheLeaseIsKeptUntilTheLoopsHaveEnded(t *testing.T) {
	config := kubetest.Config(t)
	namespace := kubetest.Namespace(t, config)
	r := newReign(t)
	end := r.server(config, namespace, "first", r.lead("first", leaseFor+time.Second))
	r.awaitLeader("first")
	r.server(config, namespace, "second", r.lead("second", 0))
	if err := end(); err != nil {
		t.Error(err)
	}
	r.awaitLeader("second")
}

func TestALeaseThatIsTakenAwayEndsTheLoops(t *testing.T) {
	config := kubetest.Config(t)
	namespace := kubetest.Namespace(t, config)
	r := newReign(t)
	r.server(config, namespace, "first", r.lead("first", 0))
	r.awaitLeader("first")
	client, err := coordination.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	leases := client.Leases(namespace)
	for taken := false; !taken; { // against the renewals
		lease, err := leases.Get(t.Context(), "modelmanager-leader", meta.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		lease.Spec.HolderIdentity = new("usurper")
		_, err = leases.Update(t.Context(), lease, meta.UpdateOptions{})
		taken = err == nil
	}
	if took := r.awaitLeader(""); took > renewFor/2 {
		t.Errorf("it took %v", took)
	}
	if took := r.awaitLeader("first"); took < leaseFor-retry {
		t.Errorf("a lease that somebody holds was taken after %v", took)
	}
	if err := leases.Delete(t.Context(), "modelmanager-leader", meta.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.awaitLeader("")
	r.awaitLeader("first")
}

func TestAnErrorOfTheLoopsIsTheServers(t *testing.T) {
	config := kubetest.Config(t)
	namespace := kubetest.Namespace(t, config)
	r := newReign(t)
	failure := errors.New("the loops failed")
	e, err := kube.New(config, kube.Options{Namespace: namespace, Lease: leaseFor, Renew: renewFor, Retry: retry})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Run(t.Context(), func(context.Context) error { return failure }); !errors.Is(err, failure) {
		t.Errorf("%v", err)
	}
	r.server(config, namespace, "second", r.lead("second", 0))
	if took := r.awaitLeader("second"); took > leaseFor/2 {
		t.Errorf("the lease wasn't released: %v", took)
	}
}

// TestTheAPIServerIsKilled: the loops end before another could lead, the
// process doesn't, and one leads again when it is back.
func TestTheAPIServerIsKilled(t *testing.T) {
	cluster := kubetest.Start(t)
	config := cluster.Config()
	namespace := kubetest.Namespace(t, config)
	r := newReign(t)
	r.server(config, namespace, "first", r.lead("first", renewFor/4))
	r.awaitLeader("first")
	r.server(config, namespace, "second", r.lead("second", renewFor/4))
	cluster.KillAPIServer(t)
	if took := r.awaitLeader(""); took > leaseFor {
		t.Errorf("the leader led for %v without an API server", took)
	}
	cluster.StartAPIServer(t)
	r.await("waiting for anybody to lead", func(leader string) bool { return leader != "" })
}

// TestTheLeaderIsCutOff: another leads, but not before the first has stopped.
func TestTheLeaderIsCutOff(t *testing.T) {
	for name, fault := range map[string]func(*line){"refused": (*line).cut, "silent": (*line).hold} {
		t.Run(name, func(t *testing.T) {
			config := kubetest.Config(t)
			namespace := kubetest.Namespace(t, config)
			r := newReign(t)
			l, through := newLine(t, config)
			r.server(through, namespace, "first", r.lead("first", renewFor/4))
			r.awaitLeader("first")
			r.server(config, namespace, "second", r.lead("second", 0))
			fault(l)
			r.awaitLeader("")
			r.awaitLeader("second")
		})
	}
}

func TestTimesThatCannotBe(t *testing.T) {
	for _, o := range []kube.Options{
		{}, {Namespace: "a", Lease: time.Second, Renew: time.Second, Retry: 1}, {Namespace: "a", Lease: 1500 * time.Millisecond, Renew: time.Second, Retry: 1},
		{Namespace: "a", Retry: time.Minute},
	} {
		if _, err := kube.New(&rest.Config{Host: "https://127.0.0.1:1"}, o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

// line is the network between a server and the apiserver.
type line struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	conns []net.Conn
	dead  bool          // nothing passes any more, and new connections end at once
	held  chan struct{} // closed when nothing passes any more
	once  sync.Once
}

func newLine(t *testing.T, config *rest.Config) (*line, *rest.Config) {
	t.Helper()
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{listener: listener, target: target.Host, held: make(chan struct{})}
	go l.serve()
	t.Cleanup(func() { listener.Close(); l.cut() })
	through := rest.CopyConfig(config)
	through.Host = "https://" + listener.Addr().String()
	through.TLSClientConfig.ServerName = "127.0.0.1"
	return l, through
}

func (l *line) serve() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", l.target)
		if err != nil {
			near.Close()
			continue
		}
		l.mu.Lock()
		l.conns = append(l.conns, near, far)
		dead := l.dead
		l.mu.Unlock()
		if dead {
			near.Close()
			far.Close()
			continue
		}
		go l.copy(near, far)
		go l.copy(far, near)
	}
}

func (l *line) copy(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		select {
		case <-l.held:
			return // and leaves both sides waiting
		default:
		}
		if _, failed := to.Write(buffer[:n]); err != nil || failed != nil {
			if err != io.EOF || failed != nil {
				to.Close()
			}
			return
		}
	}
}

// cut breaks all connections, and every new one.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
	for _, conn := range l.conns {
		conn.Close()
	}
}

// hold lets nothing pass any more, and tells nobody.
func (l *line) hold() { l.once.Do(func() { close(l.held) }) }

// TestTheAPIServerHangs: who can't know any more that no other leads stops in
// time, though no question is refused.
func TestTheAPIServerHangs(t *testing.T) {
	cluster := kubetest.Start(t)
	namespace := kubetest.Namespace(t, cluster.Config())
	r := newReign(t)
	r.server(cluster.Config(), namespace, "first", r.lead("first", 0))
	r.awaitLeader("first")
	cluster.PauseAPIServer(t)
	if took := r.awaitLeader(""); took > renewFor+time.Second {
		t.Errorf("it went on for %v", took)
	}
	cluster.ResumeAPIServer(t)
	r.awaitLeader("first")
}
