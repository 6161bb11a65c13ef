package platform

import (
	"fmt"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
)

// Health says whether a version answers, and if not, why.
func (p *Platform) Health(ref Ref) modelmanager.Health {
	if !p.replicas.isSynced() {
		return modelmanager.Health{State: modelmanager.Unknown, Reason: "the server has only just started, and has not heard from the platform yet"}
	}
	return healthOf(p.Replicas(ref))
}

func healthOf(replicas []Replica) modelmanager.Health {
	var ready, failed, starting int
	var reason, trouble, remark string
	for _, r := range replicas {
		switch r.Stage {
		case agent.StageReady:
			ready++
			trouble, remark = sentence(trouble, r.Reason), sentence(remark, r.Remark)
		case agent.StageFailed:
			failed++
			reason = r.Reason
		case agent.StageStopping:
		default:
			starting++
		}
	}
	switch {
	case ready > 0 && failed > 0:
		return modelmanager.Health{State: modelmanager.Degraded, Reason: fmt.Sprintf("%d of %d replicas fails: %s", failed, ready+failed+starting, sentence(reason, "no reason is known"))}
	case ready > 0 && trouble != "":
		return modelmanager.Health{State: modelmanager.Degraded, Reason: trouble}
	case ready > 0:
		return modelmanager.Health{State: modelmanager.Healthy, Reason: remark}
	case failed > 0:
		return modelmanager.Health{State: modelmanager.Unhealthy, Reason: sentence(reason, "its replica fails, and no reason is known")}
	case starting > 0:
		_, why := furthest(replicas)
		return modelmanager.Health{State: modelmanager.Starting, Reason: why}
	default:
		return modelmanager.Health{State: modelmanager.Idle}
	}
}

// Stage says how far a version's furthest replica has come, for callers that
// wait, with the reason in one sentence. A version without replicas is
// scheduling.
func (p *Platform) Stage(ref Ref) (stage agent.Stage, reason string) {
	return furthest(p.Replicas(ref))
}

func furthest(replicas []Replica) (agent.Stage, string) {
	best, rank := Replica{Stage: agent.StageScheduling}, 0
	for _, r := range replicas {
		if n := stageRank(r.Stage); n > rank {
			best, rank = r, n
		}
	}
	return best.Stage, sentence(best.Reason, StageReason(best.Stage))
}

// stageRank orders stages for callers that wait: a failed replica is less
// than one on its way, a stopping one is nothing.
func stageRank(stage agent.Stage) int {
	switch stage {
	case agent.StageFailed:
		return 1
	case agent.StageScheduling:
		return 2
	case agent.StagePulling:
		return 3
	case agent.StagePreparing:
		return 4
	case agent.StageStarting:
		return 5
	case agent.StageLoading:
		return 6
	case agent.StageReady:
		return 7
	default:
		return 0
	}
}

// StageReason is what is said of a replica's stage where nothing more is known.
func StageReason(stage agent.Stage) string {
	switch stage {
	case agent.StageScheduling:
		return "waiting for a place to run"
	case agent.StagePulling:
		return "fetching what the version is made of"
	case agent.StagePreparing:
		return "building the version's environment"
	case agent.StageStarting:
		return "starting the version's agent"
	case agent.StageLoading:
		return "the model is loading"
	case agent.StageFailed:
		return "the model can't be started, and no reason is known"
	default:
		return ""
	}
}

func sentence(reason, otherwise string) string {
	if reason == "" {
		return otherwise
	}
	return reason
}
