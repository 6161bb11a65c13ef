package batch

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/storage"
)

// Platform is what runs a job's steps; *platform.Platform is one.
type Platform interface {
	StartJob(ctx context.Context, run platform.JobRun) error
	StopJob(ctx context.Context, job string, step platform.Step) error
	SubscribeJobs(event func(platform.JobEvent)) (cancel func())
}

// Versions finds versions; *registry.Registry does.
type Versions interface {
	Version(ctx context.Context, model string, number int) (modelmanager.Version, error)
}

// Config is what a Service needs.
type Config struct {
	Bucket    *storage.Bucket
	Locations *storage.Locations
	Uploads   *storage.Uploads
	Signer    *storage.Signer
	Platform  Platform
	Versions  Versions

	Key    []byte // the server's secret: the agents' tokens derive from it
	Server string // base URL of the server's internal endpoints, as agents reach it

	// Name is this server's, among those that share the bucket; "": it is alone.
	Name string
	// ThroughServer keeps agents from the store: they read and write through
	// the server alone. Otherwise they get URLs of the store's own where it can
	// sign any, and turn to the server if they can't reach it.
	ThroughServer bool

	Retention time.Duration // payloads of finished jobs go after this; 0: never
	Logger    *slog.Logger  // nil: nothing is logged

	// PlanHere is the largest input, in bytes, that the server plans itself;
	// larger ones are planned by an agent. Default 64 MiB.
	PlanHere int64
	// Poll is how often the leader looks for what other servers wrote. Default 2s.
	Poll time.Duration
	// Grace is how long running shards get to commit what they have when a job
	// fails for its rejected rows. Default 5s.
	Grace time.Duration
}

// Service accepts and runs jobs.
type Service struct {
	config Config
	log    *slog.Logger
	now    func() time.Time

	kick     chan struct{}       // wakes Run
	planning chan struct{}       // bounds plans made in this process
	checking chan struct{}       // bounds checks of whole files, alike
	expired  time.Time           // jobs that finished before then have been swept; of Run alone
	mu       sync.Mutex          // guards jobs
	jobs     map[string]*tracker // live jobs that this server knows of
}

// New makes a Service. Run must run in one server of those that share a
// bucket; everything else works in each.
func New(config Config) *Service {
	if config.PlanHere == 0 {
		config.PlanHere = 64 << 20
	}
	if config.Poll == 0 {
		config.Poll = 2 * time.Second
	}
	if config.Grace == 0 {
		config.Grace = 5 * time.Second
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Service{
		config:   config,
		log:      config.Logger,
		now:      time.Now,
		kick:     make(chan struct{}, 1),
		planning: make(chan struct{}, 2),
		checking: make(chan struct{}, 2),
		jobs:     make(map[string]*tracker),
	}
}

// wake makes Run look again.
func (s *Service) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// Page is a page of jobs.
type Page = modelmanager.JobList
