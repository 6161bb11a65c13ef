package kube

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
)

// plannedPod is a pod as it is planned, on its way to what a test makes of it.
func plannedPod(t *testing.T, source AgentSource, change func(*corev1.Pod)) *corev1.Pod {
	o := planOptions()
	w := planWorkload(t)
	template := o.deployment(w, 1, "secret", source).Spec.Template
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec, Status: corev1.PodStatus{Phase: corev1.PodPending}}
	pod.CreationTimestamp = metav1.Now()
	change(pod)
	return pod
}

func conditions(pod *corev1.Pod, kinds ...corev1.PodConditionType) {
	for _, kind := range kinds {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue})
	}
}

// container gives a pod that has a node its container's state.
func container(pod *corev1.Pod, now corev1.ContainerState, last corev1.ContainerState) {
	conditions(pod, corev1.PodScheduled, corev1.PodReadyToStartContainers)
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: modelContainer, State: now, LastTerminationState: last, Image: pod.Spec.Containers[0].Image}}
}

func waiting(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

func ended137(reason, message string, code int32) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: reason, Message: message, ExitCode: code}}
}

var isRunning = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}

// TestWhyAPodIsNoFurther is made of messages that a cluster has said.
func TestWhyAPodIsNoFurther(t *testing.T) {
	none := corev1.ContainerState{}
	unscheduled := func(reason, message string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: reason, Message: message}}
		}
	}
	failed := func(reason, message string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Status.Phase, pod.Status.Reason, pod.Status.Message = corev1.PodFailed, reason, message
		}
	}
	is := func(now, last corev1.ContainerState) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { container(pod, now, last) }
	}
	for name, c := range map[string]struct {
		change func(*corev1.Pod)
		events []corev1.Event
		stage  agent.Stage
		reason string
	}{
		"new":          {func(*corev1.Pod) {}, nil, agent.StageScheduling, ""},
		"no room":      {unscheduled("Unschedulable", "0/3 nodes are available: 1 Insufficient memory, 2 Insufficient cpu. no new claims to deallocate, preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."), nil, agent.StageScheduling, "no node has room for it, which needs CPU 100m and memory 320Mi: 0/3 nodes are available: 1 Insufficient memory, 2 Insufficient cpu"},
		"tainted":      {unscheduled("Unschedulable", "0/1 nodes are available: 1 node(s) had untolerated taint(s). preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."), nil, agent.StageScheduling, "no node takes it: 0/1 nodes are available: 1 node(s) had untolerated taint(s)"},
		"gated":        {unscheduled("SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates"), nil, agent.StageScheduling, "it is held back by a scheduling gate"},
		"has a node":   {func(pod *corev1.Pod) { conditions(pod, corev1.PodScheduled) }, nil, agent.StageScheduling, "its node has not begun with it yet"},
		"sandbox made": {is(waiting("ContainerCreating", ""), none), nil, agent.StagePulling, ""},
		"being pulled": {is(waiting("ContainerCreating", ""), none), []corev1.Event{{Type: "Normal", Reason: "Pulling", Message: `Pulling image "r/x@sha256:11"`}}, agent.StagePulling, `pulling image "r/x@sha256:11"`},
		"runs already": {is(waiting("ContainerCreating", ""), none), []corev1.Event{{Type: "Warning", Reason: "Unhealthy", Message: `Readiness probe failed: Get "http://10.1.1.1:9440/healthz": dial tcp 10.1.1.1:9440: connect: connection refused`}}, agent.StageStarting, ""},
		"no volume": {func(pod *corev1.Pod) { conditions(pod, corev1.PodScheduled) },
			[]corev1.Event{{Type: "Warning", Reason: "FailedMount", Message: `MountVolume.SetUp failed for volume "config" : secret "churn-7-0011223344" not found`}},
			agent.StageFailed, `its node can't prepare it: MountVolume.SetUp failed for volume "config" : secret "churn-7-0011223344" not found`},
		"image missing": {is(waiting("ErrImagePull", `rpc error: code = NotFound desc = failed to pull and unpack image "r:5000/x@sha256:00": failed to resolve reference "r:5000/x@sha256:00": r:5000/x@sha256:00: not found`), none), nil,
			agent.StageFailed, "its image registry.example.org/churn@sha256:11 can't be pulled: r:5000/x@sha256:00: not found"},
		"image missing, later": {is(waiting("ImagePullBackOff", `Back-off pulling image "registry.example.org/churn@sha256:11": ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack image "registry.example.org/churn@sha256:11": failed to resolve reference "registry.example.org/churn@sha256:11": registry.example.org/churn@sha256:11: not found`), none), nil,
			agent.StageFailed, "its image registry.example.org/churn@sha256:11 can't be pulled: not found"},
		"registry away": {is(waiting("ErrImagePull", `failed to pull and unpack image "x": failed to resolve reference "x": failed to do request: Head "https://r/v2/x": dial tcp 10.0.0.1:443: connect: connection refused`), none), nil,
			agent.StageFailed, `its image registry.example.org/churn@sha256:11 can't be pulled: Head "https://r/v2/x": dial tcp 10.0.0.1:443: connect: connection refused`},
		"agent's image": {is(waiting("ImagePullBackOff", `Back-off pulling image "registry.example.org/mm-agent:1.0": ErrImagePull: pull access denied`), none), nil,
			agent.StageFailed, "the agent's image registry.example.org/mm-agent:1.0 can't be pulled: pull access denied"},
		"no secret": {is(waiting("CreateContainerConfigError", `secret "feature-store" not found`), none), nil,
			agent.StageFailed, "its container can't be configured: there is no secret feature-store in the models' namespace; its operator makes a Secret of that name, with the value in the field value"},
		"no field": {is(waiting("CreateContainerConfigError", `couldn't find key value in Secret models/feature-store`), none), nil,
			agent.StageFailed, "its container can't be configured: the secret feature-store has no field value"},
		"root image": {is(waiting("CreateContainerConfigError", "container has runAsNonRoot and image will run as root (pod: \"x\", container: model)"), none), nil,
			agent.StageFailed, `its container can't be configured: container has runAsNonRoot and image will run as root (pod: "x", container: model)`},
		"crashed":       {is(ended137("Error", "it begins\nmm-agent: the file is too short\n\n", 1), none), nil, agent.StageFailed, "the file is too short"},
		"crash loop":    {is(waiting("CrashLoopBackOff", "back-off 10s restarting failed container"), ended137("Error", "mm-agent: the file is too short", 1)), nil, agent.StageFailed, "the file is too short"},
		"silent crash":  {is(waiting("CrashLoopBackOff", "back-off 10s"), ended137("Error", "", 2)), nil, agent.StageFailed, "its agent ended with code 2, and said nothing"},
		"killed":        {is(waiting("CrashLoopBackOff", "back-off 10s"), ended137("Error", "", 137)), nil, agent.StageFailed, "it was killed (signal 9)"},
		"out of memory": {is(waiting("CrashLoopBackOff", "back-off 10s"), ended137("OOMKilled", "what it said", 137)), nil, agent.StageFailed, "it ran out of memory, at its limit of 512Mi (resources.memory 256Mi and 256Mi for its agent); raise resources.memory"},
		"not startable": {is(waiting("CrashLoopBackOff", "back-off 10s"), ended137("StartError", `failed to create containerd task: exec: "/mm-agent/mm-agent": no such file`, 128)), nil, agent.StageFailed, `its container can't be started: failed to create containerd task: exec: "/mm-agent/mm-agent": no such file`},
		"loading":       {is(isRunning, none), nil, agent.StageLoading, ""},
		"loading again": {is(isRunning, ended137("OOMKilled", "", 137)), nil, agent.StageLoading, "it was started again: it ran out of memory, at its limit of 512Mi (resources.memory 256Mi and 256Mi for its agent); raise resources.memory"},
		"ready":         {func(pod *corev1.Pod) { container(pod, isRunning, none); conditions(pod, corev1.PodReady) }, nil, agent.StageReady, ""},
		"stopping": {func(pod *corev1.Pod) {
			container(pod, isRunning, none)
			conditions(pod, corev1.PodReady)
			pod.DeletionTimestamp = new(metav1.Now())
		}, nil, agent.StageStopping, ""},
		"too much written": {failed("Evicted", `Usage of EmptyDir volume "scratch" exceeds the limit "64Mi". `), nil, agent.StageFailed, "it was ended: it wrote more than 64Mi to its disk (resources.disk)"},
		"evicted":          {failed("Evicted", "The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi."), nil, agent.StageFailed, "it was evicted from its node: The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi"},
		"node shut down":   {failed("Terminated", "Pod was terminated in response to imminent node shutdown."), nil, agent.StageFailed, "its pod ended: Pod was terminated in response to imminent node shutdown"},
		"no admission":     {failed("OutOfcpu", ""), nil, agent.StageFailed, "its pod ended: OutOfcpu"},
	} {
		got := stateOf(plannedPod(t, AgentImage, c.change), c.events)
		if got.stage != c.stage || got.reason != c.reason {
			t.Errorf("%s: %s, %q\nwant %s, %q", name, got.stage, got.reason, c.stage, c.reason)
		}
	}
}

func TestWhyAnAgentIsNotCopied(t *testing.T) {
	for name, c := range map[string]struct {
		init   corev1.ContainerState
		stage  agent.Stage
		reason string
	}{
		"copying": {isRunning, agent.StageStarting, "the agent is being copied into its pod"},
		"copied":  {ended137("Completed", "", 0), agent.StagePulling, ""},
		"image":   {waiting("ErrImagePull", "denied"), agent.StageFailed, "the agent's image registry.example.org/mm-agent:1.0 can't be pulled: denied"},
		"failed":  {ended137("Error", "mm-agent: no space left on device", 1), agent.StageFailed, "no space left on device"},
	} {
		pod := plannedPod(t, AgentInit, func(pod *corev1.Pod) {
			container(pod, waiting("PodInitializing", ""), corev1.ContainerState{})
			pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: initContainer, State: c.init}}
		})
		if got := stateOf(pod, nil); got.stage != c.stage || got.reason != c.reason {
			t.Errorf("%s: %s, %q\nwant %s, %q", name, got.stage, got.reason, c.stage, c.reason)
		}
	}
}

func TestWhyPodsCannotBeCreated(t *testing.T) {
	for message, want := range map[string]string{
		`pods "churn-7-5d4-x" is forbidden: exceeded quota: models, requested: pods=1, used: pods=5, limited: pods=5`:                "its pods can't be created: they exceed the quota models, requested: pods=1, used: pods=5, limited: pods=5",
		`Error creating: pods "a-plan-0-x" is forbidden: exceeded quota: models, requested: pods=1, used: pods=0, limited: pods=0`:   "its pods can't be created: they exceed the quota models, requested: pods=1, used: pods=0, limited: pods=0",
		`pods "churn-7-5d4-" is forbidden: error looking up service account models/reader: serviceaccount "reader" not found`:        "its pods can't be created: there is no service account reader (identity) in the models' namespace",
		`pods "x" is forbidden: violates PodSecurity "restricted:latest": seccompProfile`:                                            `its pods can't be created: violates PodSecurity "restricted:latest": seccompProfile`,
		`pods "x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi`:                                         `its pods can't be created: maximum memory usage per Container is 1Gi, but limit is 2Gi`,
		`Internal error occurred: failed calling webhook "w": Post "https://w/": dial tcp 10.0.0.1:443: connect: connection refused`: `its pods can't be created: Internal error occurred: failed calling webhook "w": Post "https://w/": dial tcp 10.0.0.1:443: connect: connection refused`,
	} {
		if got := cannotCreate(message); got != want {
			t.Errorf("%s\nbecame %s\nwant   %s", message, got, want)
		}
	}
}

func TestWhoseFaultALostTaskIs(t *testing.T) {
	exit := func(code int32, reason, message string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Status.Phase = corev1.PodFailed
			container(pod, ended137(reason, message, code), corev1.ContainerState{})
		}
	}
	failed := func(reason, message string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Status.Phase, pod.Status.Reason, pod.Status.Message = corev1.PodFailed, reason, message
		}
	}
	for name, c := range map[string]struct {
		change func(*corev1.Pod)
		fault  modelmanager.Code
		reason string
	}{
		"model":   {exit(10, "Error", "mm-agent: predict failed: no such column\n"), modelmanager.CodeModelError, "predict failed: no such column"},
		"storage": {exit(11, "Error", "mm-agent: reading the input: 503"), modelmanager.CodeStorage, "reading the input: 503"},
		"broken":  {exit(2, "Error", ""), modelmanager.CodeInternal, "its agent ended with code 2, and said nothing"},
		"memory":  {exit(137, "OOMKilled", ""), modelmanager.CodeModelError, "it ran out of memory, at its limit of 512Mi (resources.memory 256Mi and 256Mi for its agent); raise resources.memory"},
		"late":    {failed("DeadlineExceeded", "Pod was active on the node longer than the specified deadline"), modelmanager.CodeDeadlineExceeded, "it took longer than it may"},
		"disk":    {failed("Evicted", `Usage of EmptyDir volume "scratch" exceeds the limit "64Mi".`), modelmanager.CodeModelError, "it was ended: it wrote more than 64Mi to its disk (resources.disk)"},
		"evicted": {failed("Evicted", "The node was low on resource: memory."), modelmanager.CodeInternal, "it was evicted from its node: The node was low on resource: memory"},
	} {
		pod := plannedPod(t, AgentImage, c.change)
		pod.Annotations = map[string]string{batchv1.JobCompletionIndexAnnotation: "4", batchv1.JobIndexFailureCountAnnotation: "2"}
		a, ok := attemptOf(pod, nil)
		if !ok || a.completion != 4 || a.number != 3 || a.phase != attemptLost || a.fault != c.fault || a.reason != c.reason {
			t.Errorf("%s: %+v; want the fault %s, %q", name, a, c.fault, c.reason)
		}
	}
}

func TestOverlappingTimesCountOnce(t *testing.T) {
	at := func(second int) time.Time { return time.Date(2026, 1, 1, 0, 0, second, 0, time.UTC) }
	spans := []span{{at(10), at(12)}, {at(0), at(5)}, {at(3), at(6)}, {at(4), at(5)}, {at(20), at(20)}, {at(30), at(29)}}
	if got := covered(spans); got != 8*time.Second {
		t.Errorf("%s, want 8s", got)
	}
}

func TestTheAgentComesAsTheClusterCan(t *testing.T) {
	for _, c := range []struct {
		major, minor string
		want         AgentSource
	}{{"1", "36", AgentImage}, {"1", "37+", AgentImage}, {"1", "35", AgentInit}, {"1", "9+", AgentInit}, {"2", "0", AgentImage}, {"", "", AgentInit}} {
		if got := sourceFor(c.major, c.minor); got != c.want {
			t.Errorf("%s.%s: %s, want %s", c.major, c.minor, got, c.want)
		}
	}
}
