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
// deploy/ lets nothing out. A spec's network becomes a NetworkPolicy NAME-NUMBER
// or JOB-STEP beside its Deployment or Job. A policy can't name hosts, so that
// it has the addresses that the driver finds, and looks up again; it never has
// link-local ones, where clouds keep their metadata. For policies of the
// operator's own (by name, where the network plugin can, or for services of the
// same cluster) pods have the spec's words in the annotation
// modelmanager.dev/network, and the label modelmanager.dev/egress: named, or none.
//
// A spec's identity is the pods' service account: still without a token of
// Kubernetes, but clouds give such pods their own credentials.
//
// # What it needs
//
// Rules lists the rights. Agents listen on Port, which the server must reach.
package kube
