package kube

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"modelmanager.dev/internal/agent"
)

// state is how far a pod has come and, where it is no further for a reason,
// that reason in one sentence.
type state struct {
	stage  agent.Stage
	reason string
	since  time.Time
	// asks says that the agent itself knows more: its container runs.
	asks bool
	// ready says that the cluster finds the pod ready.
	ready bool
	// preparing says that the node is at work, and only events tell on what.
	preparing bool
}

// stateOf reads a pod of an agent. Events are those of the pod, and may be nil:
// they are only needed for one that stays preparing.
func stateOf(pod *corev1.Pod, events []corev1.Event) state {
	switch {
	case pod.DeletionTimestamp != nil:
		// The timestamp is when its grace ends.
		since := pod.DeletionTimestamp.Time
		if grace := pod.DeletionGracePeriodSeconds; grace != nil {
			since = since.Add(-time.Duration(*grace) * time.Second)
		}
		return state{stage: agent.StageStopping, since: since}
	case pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded:
		return state{stage: agent.StageFailed, reason: endedReason(pod), since: pod.CreationTimestamp.Time}
	}
	scheduled := condition(pod, corev1.PodScheduled)
	if scheduled == nil || scheduled.Status != corev1.ConditionTrue {
		s := state{stage: agent.StageScheduling, since: pod.CreationTimestamp.Time}
		if scheduled != nil {
			s.reason = unschedulable(scheduled, pod)
		}
		return s
	}
	for _, status := range pod.Status.InitContainerStatuses {
		if s, stuck := containerTrouble(pod, status); stuck {
			return s
		}
		if status.State.Running != nil {
			return state{stage: agent.StageStarting, reason: "the agent is being copied into its pod", since: status.State.Running.StartedAt.Time}
		}
	}
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name != modelContainer {
			continue
		}
		if s, stuck := containerTrouble(pod, status); stuck {
			return s
		}
		if status.State.Running != nil {
			return running(pod, status)
		}
	}
	return preparing(pod, scheduled, events)
}

// running is the state of a pod whose agent runs.
func running(pod *corev1.Pod, status corev1.ContainerStatus) state {
	s := state{stage: agent.StageLoading, since: status.State.Running.StartedAt.Time, asks: true}
	if last := status.LastTerminationState.Terminated; last != nil {
		s.reason = "it was started again: " + terminated(pod, status.Name, last)
	}
	if ready := condition(pod, corev1.PodReady); ready != nil && ready.Status == corev1.ConditionTrue {
		s.stage, s.reason, s.ready, s.since = agent.StageReady, "", true, ready.LastTransitionTime.Time
	}
	return s
}

// preparing is the state of a pod that has a node and no running agent yet.
func preparing(pod *corev1.Pod, scheduled *corev1.PodCondition, events []corev1.Event) state {
	s := state{stage: agent.StageScheduling, reason: "its node has not begun with it yet", since: scheduled.LastTransitionTime.Time, preparing: true}
	if sandbox := condition(pod, corev1.PodReadyToStartContainers); sandbox != nil && sandbox.Status == corev1.ConditionTrue {
		// It has its volumes and its address. What is left are its images.
		s.stage, s.reason, s.since = agent.StagePulling, "", sandbox.LastTransitionTime.Time
	}
	if event := latest(events); event != nil {
		switch {
		case hinders(event):
			s.stage, s.reason = agent.StageFailed, cannotPrepare(event.Message)
		case event.Reason == "Started" || event.Reason == probeFailed:
			s.stage, s.reason = agent.StageStarting, ""
		case event.Reason == "Pulling":
			s.stage, s.reason = agent.StagePulling, strings.ToLower(event.Message[:1])+event.Message[1:]
		}
	}
	return s
}

// containerTrouble tells what keeps a container from running, if it isn't just
// on its way.
func containerTrouble(pod *corev1.Pod, status corev1.ContainerStatus) (state, bool) {
	failed := func(reason string) (state, bool) {
		return state{stage: agent.StageFailed, reason: reason, since: pod.CreationTimestamp.Time}, true
	}
	if ended := status.State.Terminated; ended != nil {
		if ended.ExitCode == 0 && status.Name == initContainer {
			return state{}, false
		}
		s, _ := failed(terminated(pod, status.Name, ended))
		s.since = ended.FinishedAt.Time
		return s, true
	}
	waiting := status.State.Waiting
	if waiting == nil {
		return state{}, false
	}
	switch waiting.Reason {
	case "", "ContainerCreating", "PodInitializing":
		return state{}, false
	case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable", "SignatureValidationFailed":
		return failed(imageTrouble(pod, status, waiting.Message))
	case "CreateContainerConfigError":
		return failed("its container can't be configured: " + configTrouble(waiting.Message))
	case "CrashLoopBackOff":
		if last := status.LastTerminationState.Terminated; last != nil {
			s, _ := failed(terminated(pod, status.Name, last))
			s.since = last.FinishedAt.Time
			return s, true
		}
	}
	return failed(fmt.Sprintf("its container can't be started (%s): %s", waiting.Reason, oneSentence(waiting.Message)))
}

// imageTrouble says which image can't be pulled, and why.
func imageTrouble(pod *corev1.Pod, status corev1.ContainerStatus, message string) string {
	image, what := status.Image, "its image"
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if container.Name == status.Name && container.Image != "" {
			image = container.Image
		}
	}
	if status.Name == initContainer {
		what = "the agent's image"
	}
	for _, volume := range pod.Spec.Volumes {
		// A message names the image that it is about; the agent's is a volume.
		if volume.Image != nil && strings.Contains(message, volume.Image.Reference) {
			image, what = volume.Image.Reference, "the agent's image"
		}
	}
	cause := strings.TrimPrefix(pullCause(message), image+": ")
	if cause == "" {
		cause = "the cluster doesn't say why"
	}
	return fmt.Sprintf("%s %s can't be pulled: %s", what, image, cause)
}

// pullNoise is what stands before the cause in a message about pulling.
var pullNoise = regexp.MustCompile(`^(?:Back-off pulling image "[^"]*"|ErrImagePull|ImagePullBackOff|rpc error: code = \w+ desc = |` +
	`failed to pull and unpack image "[^"]*"|failed to pull image "[^"]*"|failed to resolve image|failed to resolve reference "[^"]*"|` +
	`failed to do request|unable to retrieve auth token)(?:: )?`)

func pullCause(message string) string {
	for {
		rest := strings.TrimSpace(pullNoise.ReplaceAllString(message, ""))
		if rest == message {
			return oneSentence(message)
		}
		message = rest
	}
}

var missingSecret = regexp.MustCompile(`^secret "([^"]+)" not found$`)
var missingKey = regexp.MustCompile(`^couldn't find key (\S+) in Secret [^/]*/(\S+)$`)

// configTrouble explains what a container's configuration lacks.
func configTrouble(message string) string {
	if m := missingSecret.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("there is no secret %s in the models' namespace; its operator makes a Secret of that name, with the value in the field value", m[1])
	}
	if m := missingKey.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("the secret %s has no field %s", m[2], m[1])
	}
	return oneSentence(message)
}

// terminated says why a container ended.
func terminated(pod *corev1.Pod, name string, ended *corev1.ContainerStateTerminated) string {
	last := lastWords(ended.Message)
	switch {
	case ended.Reason == "OOMKilled":
		return outOfMemory(pod, name)
	case ended.Reason == "StartError" || ended.Reason == "ContainerCannotRun":
		return "its container can't be started: " + oneSentence(ended.Message)
	case last != "":
		return last
	case bySignal(ended):
		return fmt.Sprintf("it was killed (signal %d)", ended.ExitCode-128)
	case ended.ExitCode != 0:
		return fmt.Sprintf("its agent ended with code %d, and said nothing", ended.ExitCode)
	default:
		return "its agent ended"
	}
}

// bySignal tells whether a signal ended a container.
func bySignal(ended *corev1.ContainerStateTerminated) bool {
	return ended.ExitCode > 128 && ended.ExitCode < 128+65
}

func outOfMemory(pod *corev1.Pod, name string) string {
	for _, container := range pod.Spec.Containers {
		if container.Name == name {
			limit := container.Resources.Limits[corev1.ResourceMemory]
			worker := limit.DeepCopy()
			worker.Sub(*agentMemory())
			return fmt.Sprintf("it ran out of memory, at its limit of %s (resources.memory %s and %s for its agent); raise resources.memory",
				limit.String(), worker.String(), agentMemory().String())
		}
	}
	return "it ran out of memory; raise resources.memory"
}

const wroteTooMuch = "it was ended: it wrote more than %s to its disk (resources.disk)"

// endedReason says why a whole pod ended.
func endedReason(pod *corev1.Pod) string {
	message := oneSentence(pod.Status.Message)
	switch {
	case pod.Status.Reason == reasonLost:
		return message
	case pod.Status.Reason == "Evicted" && strings.Contains(message, `EmptyDir volume "`+scratchVolume+`"`):
		return fmt.Sprintf(wroteTooMuch, scratchLimit(pod))
	case pod.Status.Reason == "Evicted":
		return "it was evicted from its node: " + message
	case pod.Status.Reason == "DeadlineExceeded":
		return "it took longer than it may"
	}
	for _, status := range pod.Status.InitContainerStatuses {
		if ended := status.State.Terminated; ended != nil && ended.ExitCode != 0 {
			return "copying the agent failed: " + terminated(pod, status.Name, ended)
		}
	}
	for _, status := range pod.Status.ContainerStatuses {
		if ended := status.State.Terminated; ended != nil && status.Name == modelContainer {
			return terminated(pod, status.Name, ended)
		}
	}
	if disrupted := condition(pod, corev1.DisruptionTarget); disrupted != nil && disrupted.Status == corev1.ConditionTrue {
		return "its node took it away: " + oneSentence(disrupted.Message)
	}
	if message == "" {
		message = pod.Status.Reason
	}
	if message == "" {
		return "its pod ended"
	}
	return "its pod ended: " + message
}

func scratchLimit(pod *corev1.Pod) string {
	for _, volume := range pod.Spec.Volumes {
		if volume.Name == scratchVolume && volume.EmptyDir != nil && volume.EmptyDir.SizeLimit != nil {
			return volume.EmptyDir.SizeLimit.String()
		}
	}
	return "it may"
}

// unschedulable says what is missing for a pod to get a node.
func unschedulable(c *corev1.PodCondition, pod *corev1.Pod) string {
	message, _, _ := strings.Cut(c.Message, " preemption:")
	message = oneSentence(strings.TrimSuffix(message, " no new claims to deallocate,"))
	switch {
	case c.Reason == corev1.PodReasonSchedulingGated:
		return "it is held back by a scheduling gate"
	case c.Reason != corev1.PodReasonUnschedulable:
		return ""
	case !strings.Contains(message, "Insufficient"):
		return "no node takes it: " + message
	}
	for _, container := range pod.Spec.Containers {
		if container.Name == modelContainer {
			requests := container.Resources.Requests
			return fmt.Sprintf("no node has room for it, which needs CPU %s and memory %s: %s",
				requests.Cpu().String(), requests.Memory().String(), message)
		}
	}
	return "no node has room for it: " + message
}

// cannotPrepare explains why a node can't give a pod what it needs.
func cannotPrepare(message string) string {
	return "its node can't prepare it: " + oneSentence(message)
}

var forbidden = regexp.MustCompile(`(?:Error creating: )?pods "[^"]*" is forbidden: `)
var missingAccount = regexp.MustCompile(`error looking up service account \S+: serviceaccount "([^"]+)" not found`)

// cannotCreate explains why a controller can't make pods.
func cannotCreate(message string) string {
	if m := missingAccount.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("its pods can't be created: there is no service account %s (identity) in the models' namespace", m[1])
	}
	message = oneSentence(forbidden.ReplaceAllString(message, ""))
	if rest, ok := strings.CutPrefix(message, "exceeded quota: "); ok {
		return "its pods can't be created: they exceed the quota " + rest
	}
	return "its pods can't be created: " + message
}

var quotaExceeded = regexp.MustCompile(`exceeded quota`)
