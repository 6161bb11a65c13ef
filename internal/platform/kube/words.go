package kube

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"modelmanager.dev/internal/wording"
)

func condition(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// latest returns the newest of some events.
func latest(events []corev1.Event) *corev1.Event {
	var newest *corev1.Event
	for i := range events {
		if newest == nil || !eventTime(&events[i]).Before(eventTime(newest)) {
			newest = &events[i]
		}
	}
	return newest
}

// hinders tells whether an event says what is in a pod's way. A probe that fails
// isn't: its container runs, though the pod's status may not say so yet.
func hinders(e *corev1.Event) bool {
	return e.Type == corev1.EventTypeWarning && e.Reason != probeFailed
}

// probeFailed is the reason of an event about a container that runs.
const probeFailed = "Unhealthy"

func eventTime(e *corev1.Event) time.Time {
	at := e.CreationTimestamp.Time
	if e.LastTimestamp.After(at) {
		at = e.LastTimestamp.Time
	}
	if e.EventTime.After(at) {
		at = e.EventTime.Time
	}
	if e.Series != nil && e.Series.LastObservedTime.After(at) {
		at = e.Series.LastObservedTime.Time
	}
	return at
}

// longestReason bounds a reason, in characters.
const longestReason = 500

// oneSentence makes one line of a message, of bounded length, without a full
// stop.
func oneSentence(message string) string {
	message = strings.TrimRight(strings.Join(strings.Fields(message), " "), ". ")
	return wording.Shorten(message, longestReason)
}

// lastWords returns the last line of a container's message that says anything:
// an agent that fails ends with why.
func lastWords(message string) string {
	lines := strings.Split(strings.ToValidUTF8(message, "?"), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if line := strings.TrimSpace(lines[i]); line != "" {
			return oneSentence(strings.TrimPrefix(line, agentProgram+": "))
		}
	}
	return ""
}

func agentMemory() *resource.Quantity { return resource.NewQuantity(AgentMemory, resource.BinarySI) }
