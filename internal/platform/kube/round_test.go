package kube

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"modelmanager.dev/internal/platform"
)

// crowd adds a step of so many tasks to the scene, with pods that have a place
// and pods that no node has room for.
func (p *theatre) crowd(name string, wanted, placed, waiting int, change func(*batchv1.Job)) {
	p.run.Job, p.run.Count, p.run.Parallelism = name, 100, wanted
	job := p.job(change)
	job.UID = types.UID(name)
	jobsOfTasks{p.watch}.set(job)
	for i := range placed + waiting {
		pod := p.pod(i, 0, func(pod *corev1.Pod) {
			pod.Spec.NodeName = "node-1"
			if i >= placed {
				pod.Spec.NodeName = ""
				pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable}}
			}
		})
		pod.Name = fmt.Sprintf("%s-%d", name, i)
		pod.UID = types.UID(pod.Name)
		pod.Labels[batchv1.ControllerUidLabel] = name
		podsOfTasks{p.watch}.set(pod)
	}
}

// ends lets a pod that has a place end.
func (p *theatre) ends(name string, index int) {
	pod := p.pod(index, 0, succeeds)
	pod.Name = fmt.Sprintf("%s-%d", name, index)
	pod.UID = types.UID(pod.Name)
	pod.Labels[batchv1.ControllerUidLabel] = name
	podsOfTasks{p.watch}.set(pod)
}

// turns returns what a round changes.
func (p *theatre) turns(room *room) []string {
	changes, _ := p.watch.round(room, time.Now())
	var list []string
	for _, c := range changes {
		text := fmt.Sprintf("%s %d→%d", c.step.key.job, c.old, c.new)
		if c.nudge {
			text += " nudged"
		}
		list = append(list, text)
	}
	return list
}

func (p *theatre) wantsTurns(room *room, want ...string) {
	p.Helper()
	if got := p.turns(room); !slices.Equal(got, want) {
		p.Errorf("a round changes %v, want %v", got, want)
	}
}

func (p *theatre) takes(names ...string) {
	p.watch.driver.taken = map[stepKey]<-chan struct{}{}
	for _, name := range names {
		p.watch.driver.taken[stepKey{name, platform.StepShards}] = nil
	}
}

func TestARoundGivesASmallJobItsTurn(t *testing.T) {
	play(t, 1, func(p *theatre) {
		p.lists(nil)
		p.takes("large", "small")
		room := &room{}
		p.crowd("large", 40, 20, 20, nothing)
		p.wantsTurns(room, "large 40→28")
		p.crowd("large", 28, 20, 8, nothing)
		p.crowd("small", 2, 0, 2, nothing)
		p.wantsTurns(room, "large 28→20")
		p.watch.steps["large"].parallelism = 20
		p.ends("large", 0)
		p.wantsTurns(room) // the controller may not know yet that it has ended
		time.Sleep(endedFor)
		p.wantsTurns(room, "large 20→19")
	})
}

// Jobs of a queue, and jobs that somebody holds back, are not ours to change;
// nor are those that another server was told to run.
func TestARoundLeavesOthersAlone(t *testing.T) {
	play(t, 1, func(p *theatre) {
		p.lists(nil)
		p.takes("queued", "held")
		p.crowd("queued", 40, 20, 20, func(job *batchv1.Job) { job.Labels[labelQueue] = "models" })
		p.crowd("held", 40, 20, 20, func(job *batchv1.Job) { job.Spec.Suspend = new(true) })
		p.crowd("another's", 40, 20, 20, nothing)
		p.wantsTurns(&room{})
	})
}

// A quota keeps pods from being made at all: they wait, too, and their
// controller is told when there is room.
func TestARoundUnderAQuota(t *testing.T) {
	play(t, 1, func(p *theatre) {
		p.lists(nil)
		p.takes("large", "small")
		room := &room{}
		p.crowd("large", 20, 20, 0, nothing)
		p.crowd("small", 2, 0, 0, nothing)
		synctest.Wait() // nobody is to ask for the events of this scene
		p.watch.driver.options.Stuck = 3 * time.Second
		p.wantsTurns(room) // they may be about to be made
		time.Sleep(4 * time.Second)
		p.ends("large", 0)
		p.wantsTurns(room)
		time.Sleep(endedFor)
		p.wantsTurns(room, "large 20→19", "small 2→2 nudged")
		p.wantsTurns(room, "large 20→19") // not again so soon
	})
}

// A new leader knows nothing but the objects.
func TestANewLeaderGoesOnWithTheTurns(t *testing.T) {
	play(t, 1, func(p *theatre) {
		p.lists(nil)
		p.takes("large")
		p.crowd("large", 40, 18, 0, func(job *batchv1.Job) { job.Spec.Parallelism = new(int32(18)) })
		p.wantsTurns(&room{}, "large 18→25")
	})
}

// TestWhoDrivesAJobNoMoreLeavesItAlone: a server that has lost its lease changes
// no Job for the sake of the steps that it has started.
func TestWhoDrivesAJobNoMoreLeavesItAlone(t *testing.T) {
	play(t, 1, func(p *theatre) {
		p.lists(nil)
		p.takes("small")
		leading, lose := context.WithCancel(p.Context())
		defer lose()
		p.watch.driver.take(stepKey{"large", platform.StepShards}, leading.Done())
		room := &room{}
		p.crowd("large", 40, 20, 20, nothing)
		p.wantsTurns(room, "large 40→28")
		lose()
		p.wantsTurns(room)
		p.watch.driver.take(stepKey{"large", platform.StepShards}, p.Context().Done()) // it leads again
		p.wantsTurns(room, "large 40→28")
	})
}
