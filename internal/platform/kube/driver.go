package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"modelmanager.dev"
	"modelmanager.dev/internal/platform"
)

// Driver is a platform.Driver on Kubernetes. What runs is the cluster's: it
// outlives the driver, and any number of drivers may share it.
type Driver struct {
	options Options
	client  kubernetes.Interface

	ctx    context.Context // of the watches
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
	source AgentSource             // once it is known
	keys   map[platform.Ref]string // that Options.Key doesn't tell
	owned  map[string]ownedSecret  // by the name of the owner
	// Deployments that have their budget, by name.
	budgets map[string]types.UID
	// What the pods of Deployments and Jobs may connect to, by name.
	networks map[string]*network
	tasks    map[*taskWatch]struct{} // watches under way
	// Steps that this driver was told to run; closed: others may run them now.
	taken map[stepKey]<-chan struct{}
	open  map[stepKey]lastSeen // steps that have not ended, as the watches last saw them
	wait  sync.WaitGroup
}

var _ platform.Driver = (*Driver)(nil)

// New returns a driver. It doesn't speak to the cluster yet.
func New(options Options) (*Driver, error) {
	if err := options.complete(); err != nil {
		return nil, err
	}
	config := rest.CopyConfig(options.Config)
	config.QPS = -1 // the API server itself sees to fairness
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to Kubernetes: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Driver{
		options: options, client: client, ctx: ctx, cancel: cancel,
		keys: map[platform.Ref]string{}, owned: map[string]ownedSecret{}, budgets: map[string]types.UID{},
		networks: map[string]*network{},
		tasks:    map[*taskWatch]struct{}{}, taken: map[stepKey]<-chan struct{}{}, open: map[stepKey]lastSeen{},
	}, nil
}

// Close implements platform.Driver: it ends the watches. Replicas and jobs go
// on; another server follows them.
func (d *Driver) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.cancel()
	d.wait.Wait()
	return nil
}

// begin counts a call that Close waits for; its context ends with the driver's.
func (d *Driver) begin(ctx context.Context) (context.Context, func(), error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, nil, modelmanager.Errorf(modelmanager.CodeUnavailable, "the server is shutting down")
	}
	d.wait.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(d.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
		d.wait.Done()
	}, nil
}

// key returns the key of a version's agents.
func (d *Driver) key(ref platform.Ref) string {
	d.mu.Lock()
	key, ok := d.keys[ref]
	d.mu.Unlock()
	if ok {
		return key
	}
	return d.options.Key(ref)
}

// Kubernetes' first version with image volumes for everybody.
const (
	imageVolumeMajor = 1
	imageVolumeMinor = 36
)

// agentSource says how the agent comes into pods here.
func (d *Driver) agentSource() (AgentSource, error) {
	if d.options.AgentSource != AgentAuto {
		return d.options.AgentSource, nil
	}
	d.mu.Lock()
	source := d.source
	d.mu.Unlock()
	if source != AgentAuto {
		return source, nil
	}
	version, err := d.client.Discovery().ServerVersion()
	if err != nil {
		return AgentAuto, unreachable("asking for the cluster's version", err)
	}
	source = sourceFor(version.Major, version.Minor)
	d.mu.Lock()
	d.source = source
	d.mu.Unlock()
	return source, nil
}

// sourceFor chooses by a version such as "1" and "36+".
func sourceFor(major, minor string) AgentSource {
	number := func(text string) int {
		n, err := strconv.Atoi(strings.TrimRight(text, "+"))
		if err != nil {
			return 0
		}
		return n
	}
	if m := number(major); m > imageVolumeMajor || m == imageVolumeMajor && number(minor) >= imageVolumeMinor {
		return AgentImage
	}
	return AgentInit
}

// convert makes of an object what server-side apply sends: only the fields that
// are set.
func convert(object, configuration any) error {
	text, err := json.Marshal(object)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, configuration)
}
