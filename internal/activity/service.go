package activity

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/peers"
	"modelmanager.dev/internal/platform"
)

// Path is below where servers ask each other what they have counted.
const Path = "/internal/activity/"

const (
	pathNow   = Path + "now"
	pathModel = Path + "models/"
)

// Platform is what a Service needs of the platform.
type Platform interface {
	// Subscribe calls event for every replica there is, then for each change.
	Subscribe(event func(platform.ReplicaEvent)) (cancel func())
	// Health says whether a version answers, and if not, why.
	Health(ref platform.Ref) modelmanager.Health
}

// Load is what a server has under way of a version.
type Load struct {
	Ref      platform.Ref
	InFlight int
	Waiting  int
}

// Config is all that a Service is told.
type Config struct {
	Recorder *Recorder // of this server
	Platform Platform
	Loads    func() []Load // what this server has under way
	Peers    peers.Finder
	Key      []byte           // that servers know each other by
	Now      func() time.Time // default time.Now
}

// Service adds up what all servers have counted. Its methods may be called by
// many goroutines.
type Service struct {
	config   Config
	since    time.Time // when this server began to count
	replicas *replicas
	now      *peers.Collector[nowPart]
	model    *peers.Collector[modelPart]
	cancel   func()
}

// New makes a Service, and follows the platform's replicas until Close.
func New(config Config) *Service {
	if config.Now == nil {
		config.Now = time.Now
	}
	s := &Service{config: config, since: config.Now(), replicas: newReplicas()}
	s.now = peers.NewQuestion(config.Peers, config.Key, pathNow, s.ownNow)
	s.model = peers.NewQuestion(config.Peers, config.Key, pathModel, s.ownModel)
	s.cancel = config.Platform.Subscribe(func(event platform.ReplicaEvent) { s.replicas.changed(config.Now(), event) })
	return s
}

// Close ends what New began.
func (s *Service) Close() {
	s.cancel()
	s.now.Close()
	s.model.Close()
}

// Handler answers the other servers, under Path.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(pathNow, peers.Answer(s.config.Key, pathNow, s.ownNow))
	mux.Handle(pathModel, peers.Answer(s.config.Key, pathModel, s.ownModel))
	return mux
}

// nowPart is what one server has of a version now. All servers see all
// replicas; calls are each server's own. One part has no version: it tells since
// when the server counts.
type nowPart struct {
	Ref      platform.Ref `json:"ref"`
	Since    time.Time    `json:"since,omitzero"`
	Replicas int          `json:"replicas,omitempty"`
	Pending  int          `json:"pending,omitempty"`
	InFlight int          `json:"in_flight,omitempty"`
	Waiting  int          `json:"waiting,omitempty"`
	Last     time.Time    `json:"last,omitzero"`
	Counts
}

func (s *Service) ownNow(string) []nowPart {
	now := s.config.Now()
	own := map[platform.Ref]*nowPart{}
	of := func(ref platform.Ref) *nowPart {
		if own[ref] == nil {
			own[ref] = &nowPart{Ref: ref}
		}
		return own[ref]
	}
	for ref, n := range s.replicas.running(now) {
		part := of(ref)
		part.Replicas, part.Pending = n[0], n[1]
	}
	for _, load := range s.config.Loads() {
		if load.InFlight > 0 || load.Waiting > 0 {
			part := of(load.Ref)
			part.InFlight, part.Waiting = load.InFlight, load.Waiting
		}
	}
	for ref, l := range s.config.Recorder.all(now.Add(-Lately)) {
		part := of(ref)
		part.Counts, part.Last = l.counts, l.last
	}
	list := make([]nowPart, 0, len(own)+1)
	list = append(list, nowPart{Since: s.since})
	for _, part := range own {
		list = append(list, *part)
	}
	return list
}

// Now returns what runs now, on all servers.
func (s *Service) Now(ctx context.Context) modelmanager.Activity {
	at := s.config.Now()
	parts, err := s.now.All(ctx)
	sum, since := map[platform.Ref]*nowPart{}, s.since
	for _, part := range parts {
		if part.Ref.Model == "" {
			since = later(since, part.Since)
			continue
		}
		v := sum[part.Ref]
		if v == nil {
			v = &nowPart{Ref: part.Ref}
			sum[part.Ref] = v
		}
		v.Replicas, v.Pending = max(v.Replicas, part.Replicas), max(v.Pending, part.Pending)
		v.InFlight += part.InFlight
		v.Waiting += part.Waiting
		v.Counts = v.Plus(part.Counts)
		v.Last = later(v.Last, part.Last)
	}
	refs := slices.SortedFunc(maps.Keys(sum), func(a, b platform.Ref) int {
		return cmp.Or(cmp.Compare(a.Model, b.Model), cmp.Compare(a.Version, b.Version))
	})
	activity := modelmanager.Activity{At: at.UTC(), KnownSince: since.UTC(), Versions: make([]modelmanager.VersionActivity, len(refs)), Incomplete: incomplete(err)}
	for i, ref := range refs {
		v := sum[ref]
		activity.Versions[i] = modelmanager.VersionActivity{
			Model: ref.Model, Version: ref.Version, Health: s.config.Platform.Health(ref),
			Replicas: v.Replicas, Pending: v.Pending, InFlight: v.InFlight, Waiting: v.Waiting, CallCounts: v.Public(),
		}
		if !v.Last.IsZero() {
			activity.Versions[i].LastCall = new(v.Last.UTC())
		}
	}
	return activity
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func incomplete(err error) string {
	if err == nil {
		return ""
	}
	return "what other servers know is missing: " + err.Error()
}
