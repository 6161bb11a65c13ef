package kube

import (
	"cmp"
	"context"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
)

// WatchReplicas implements platform.Driver. A replica is a pod; a Deployment
// whose pods can't be created is told of as one, too, for its reason.
func (d *Driver) WatchReplicas(ctx context.Context, event func(platform.ReplicaEvent)) error {
	ctx, done, err := d.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithCancelCause(ctx)
	w := &replicaWatch{
		driver: d, ctx: ctx, event: event,
		pods: map[string]*watchedPod{}, versions: map[platform.Ref]map[string]*watchedPod{}, told: map[string]platform.Replica{},
	}
	w.wait.Go(func() { cancel(follow(ctx, d.pods(selectReplicas), podsOfReplicas{w})) })
	w.wait.Go(func() { d.keepNetworks(ctx) })
	w.wait.Go(func() { cancel(follow(ctx, d.deployments(), deploymentsOfReplicas{w})) })
	<-ctx.Done()
	w.wait.Wait()
	return context.Cause(ctx)
}

// replicaWatch is one watch of replicas. Its observers and its questions to
// agents come from goroutines of their own.
type replicaWatch struct {
	driver *Driver
	ctx    context.Context
	event  func(platform.ReplicaEvent)
	wait   sync.WaitGroup

	mu       sync.Mutex
	pods     map[string]*watchedPod // by name
	versions map[platform.Ref]map[string]*watchedPod
	told     map[string]platform.Replica // by id
	listed   struct{ pods, deployments bool }
	synced   bool
}

// watchedPod is a pod with what its agent and the cluster's events say.
type watchedPod struct {
	pod    *corev1.Pod
	ref    platform.Ref
	state  state
	status *agent.Status // of the agent's own; nil: it hasn't answered
	silent string        // since when it was asked in vain: why
	asked  agentRun      // whom asking is about
	stop   context.CancelFunc
	events []corev1.Event
	looks  bool // at events
	over   bool // it has ended, and is a record only
}

// agentRun is one run of an agent: after a restart, what it said before is void.
type agentRun struct {
	address string
	started time.Time
}

// podsOfReplicas and deploymentsOfReplicas are the watch as observers.
type (
	podsOfReplicas        struct{ *replicaWatch }
	deploymentsOfReplicas struct{ *replicaWatch }
)

func (w podsOfReplicas) replace(all []*corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	here := make(map[string]types.UID, len(all))
	for _, pod := range all {
		here[pod.Name] = pod.UID
	}
	for name, p := range w.pods {
		if here[name] != p.pod.UID {
			w.dropPod(p)
		}
	}
	for _, pod := range all {
		w.setPod(pod)
	}
	w.listed.pods = true
	w.sync()
}

func (w podsOfReplicas) set(pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.setPod(pod)
}

func (w podsOfReplicas) remove(pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.pods[pod.Name]; p != nil && p.pod.UID == pod.UID {
		w.dropPod(p)
	}
}

// sync tells that all that there is has been told, once both lists have been
// read.
func (w *replicaWatch) sync() {
	if w.listed.pods && w.listed.deployments && !w.synced {
		w.synced = true
		w.event(platform.ReplicaEvent{Synced: true})
	}
}

func (w *replicaWatch) setPod(pod *corev1.Pod) {
	ref, ok := refOf(pod.Labels)
	if !ok {
		return
	}
	p := w.pods[pod.Name]
	if p != nil && p.pod.UID != pod.UID {
		w.dropPod(p)
		p = nil
	}
	if p == nil {
		p = &watchedPod{ref: ref, stop: func() {}}
		w.pods[pod.Name] = p
		if w.versions[ref] == nil {
			w.versions[ref] = map[string]*watchedPod{}
		}
		w.versions[ref][pod.Name] = p
	}
	p.pod = pod
	w.assess(p)
	w.tellVersion(ref)
}

// assess reads the pod, and starts or ends asking its agent.
func (w *replicaWatch) assess(p *watchedPod) {
	wasReady := p.state.ready
	p.state = stateOf(p.pod, p.events)
	run := agentRun{address: p.pod.Status.PodIP, started: p.state.since}
	for _, status := range p.pod.Status.ContainerStatuses {
		if status.Name == modelContainer && status.State.Running != nil {
			run.started = status.State.Running.StartedAt.Time
		}
	}
	switch {
	case !p.state.asks || run.address == "":
		p.stop()
		p.status, p.silent, p.asked, p.stop = nil, "", agentRun{}, func() {}
	case p.asked != run || wasReady && !p.state.ready:
		p.stop()
		ctx, cancel := context.WithCancel(w.ctx)
		p.status, p.silent, p.asked, p.stop = nil, "", run, cancel
		w.wait.Go(func() { w.ask(ctx, p, run) })
	}
	if p.state.preparing && !p.looks {
		p.looks = true
		name := p.pod.Name
		w.wait.Go(func() { w.look(name, p) })
	}
}

func (w *replicaWatch) dropPod(p *watchedPod) {
	p.stop()
	delete(w.pods, p.pod.Name)
	delete(w.versions[p.ref], p.pod.Name)
	if len(w.versions[p.ref]) == 0 {
		delete(w.versions, p.ref)
	}
	w.gone(p.pod.Name)
	w.tellVersion(p.ref)
}

// tellVersion tells what has changed of a version's pods. One that has ended
// for good, and stays as a record, is a replica only while no other is there.
func (w *replicaWatch) tellVersion(ref platform.Ref) {
	alive, predecessor := false, ""
	for _, p := range w.versions[ref] {
		alive = alive || !ended(p.pod)
	}
	var records []*corev1.Pod
	for name, p := range w.versions[ref] {
		if ended(p.pod) && alive {
			predecessor, p.over = p.state.reason, true
			w.gone(name)
			records = append(records, p.pod)
		}
	}
	w.prune(records)
	for name, p := range w.versions[ref] {
		if p.over {
			continue
		}
		r := w.replica(name, p)
		if r.Reason == "" && predecessor != "" && r.Stage != agent.StageReady && r.Stage != agent.StageStopping {
			r.Reason = "the replica before it has ended: " + predecessor
		}
		w.tell(r)
	}
}

// keptRecords is how many pods that have ended stay beside those that took
// their place: a version that is evicted again and again would fill the cluster.
const keptRecords = 3

// prune deletes the oldest of a version's pods that have ended.
func (w *replicaWatch) prune(records []*corev1.Pod) {
	// Of those of one second, the same ones always.
	slices.SortFunc(records, func(a, b *corev1.Pod) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for i, pod := range records {
		if i < keptRecords || pod.DeletionTimestamp != nil {
			continue
		}
		w.wait.Go(func() {
			err := w.driver.client.CoreV1().Pods(pod.Namespace).Delete(w.ctx, pod.Name, *metav1.NewPreconditionDeleteOptions(string(pod.UID)))
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && w.ctx.Err() == nil {
				w.driver.options.Logger.Warn("deleting a pod that has ended", "pod", pod.Name, "error", err)
			}
		})
	}
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
}

// replica is a pod as a replica: the agent's own word goes beyond the cluster's.
func (w *replicaWatch) replica(name string, p *watchedPod) platform.Replica {
	r := platform.Replica{
		ID: name, Ref: p.ref, Network: "tcp", Key: w.driver.key(p.ref),
		Stage: p.state.stage, Reason: p.state.reason, Since: p.state.since,
	}
	if p.pod.Status.PodIP != "" {
		r.Address = net.JoinHostPort(p.pod.Status.PodIP, strconv.Itoa(Port))
	}
	switch {
	case !p.state.asks:
	case p.status != nil:
		// A pod that the cluster finds ready may have failed since it looked, and
		// the other way round.
		r.Stage = p.status.Stage
		if r.Stage == agent.StageReady || p.status.Reason != "" {
			r.Reason = p.status.Reason
		}
		if r.Stage == agent.StageReady {
			r.Remark = p.status.Remark
		}
	case p.silent != "" && !p.state.ready:
		r.Stage, r.Reason = agent.StageFailed, p.silent
	}
	return r
}

func (w *replicaWatch) tell(r platform.Replica) {
	if old, ok := w.told[r.ID]; ok {
		if old.Stage == r.Stage {
			r.Since = old.Since
		}
		if old == r {
			return
		}
	}
	w.told[r.ID] = r
	w.event(platform.ReplicaEvent{Replica: r})
}

func (w *replicaWatch) gone(id string) {
	if r, ok := w.told[id]; ok {
		delete(w.told, id)
		w.event(platform.ReplicaEvent{Replica: r, Gone: true})
	}
}

// unmade is the id of the replica that stands for the pods of a Deployment that
// can't be created.
func unmade(deployment string) string { return deployment + "/unmade" }

func (w deploymentsOfReplicas) replace(all []*appsv1.Deployment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	stuck := map[string]bool{}
	for _, deployment := range all {
		if w.setDeployment(deployment) {
			stuck[unmade(deployment.Name)] = true
		}
	}
	for id := range w.told {
		if _, isPod := w.pods[id]; !isPod && !stuck[id] {
			w.gone(id)
		}
	}
	w.listed.deployments = true
	w.sync()
}

func (w deploymentsOfReplicas) set(deployment *appsv1.Deployment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.setDeployment(deployment)
}

func (w deploymentsOfReplicas) remove(deployment *appsv1.Deployment) {
	w.driver.forget(deployment.Name)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone(unmade(deployment.Name))
}

func (w *replicaWatch) setDeployment(deployment *appsv1.Deployment) (stuck bool) {
	ref, ok := refOf(deployment.Labels)
	if !ok {
		return false
	}
	for _, c := range deployment.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue && deployment.DeletionTimestamp == nil {
			w.tell(platform.Replica{
				ID: unmade(deployment.Name), Ref: ref, Key: w.driver.key(ref),
				Stage: agent.StageFailed, Reason: cannotCreate(c.Message), Since: c.LastTransitionTime.Time,
			})
			return true
		}
	}
	w.gone(unmade(deployment.Name))
	return false
}
