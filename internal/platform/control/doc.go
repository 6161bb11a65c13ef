// Package control holds the control loops of drivers that start replicas and
// tasks themselves: a version's replicas are kept at their number, a step's
// tasks are run side by side. (Kubernetes has such loops of its own.) A driver
// brings the function that runs one replica, or one task. AgentClient is for
// every driver whose replicas are agents.
package control
