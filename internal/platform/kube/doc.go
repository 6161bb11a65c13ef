// Package kube runs versions and jobs on Kubernetes: a version as a Deployment
// of agents, a step of a job as an Indexed Job.
//
// # What is in the cluster
//
// For a version with replicas, in the namespace of the models: a Deployment
// NAME-NUMBER and a Secret of the type modelmanager.dev/agent with the agents'
// configuration, and where it has several, a PodDisruptionBudget NAME-NUMBER; for
// a step of a job, a Job JOB-STEP and such a Secret. A Secret belongs to its
// Deployment or Job and goes with it. A version without replicas
// has nothing here. There are no Services: gateways watch the pods.
//
// Every Secret is immutable and named by its content, so a new configuration
// is a new name, which replaces the pods one by one. All objects carry the
// labels of type labels below. Several servers may drive one namespace: every
// write is either a server-side apply of the whole, or the creation of something
// whose name says what it is.
//
// # What a pod may do
//
// Pods meet the restricted Pod Security Standard: uid 65532, no capabilities,
// read-only root file system, no token of a service account. /tmp, with the
// worker's home in it, is an emptyDir of resources.disk. The memory limit is
// resources.memory and AgentMemory: the agent ends a worker at
// resources.memory, so the container's own limit is met only by what an agent
// can't see, such as pages of a tmpfs. The CPU request is resources.cpu; the
// limit is that or a whole core, whichever is more, so that starting isn't
// throttled where nobody else wants the time.
//
// A NetworkPolicy can't name hosts. A spec's network is therefore written into
// the annotation modelmanager.dev/network of its pods, which also get the label
// modelmanager.dev/egress: named, for the operator's own policies to select
// (by name where the network plugin can, or through a proxy); pods of specs
// without it have the label's value none. deploy/ lets neither out.
//
// A spec's identity is the pods' service account: still without a token of
// Kubernetes, but clouds give such pods their own credentials.
//
// # What it needs
//
// Rules lists the rights. Agents listen on Port, which the server must reach.
package kube
