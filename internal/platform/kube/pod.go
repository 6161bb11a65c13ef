package kube

import (
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/spec"
)

// Port is where agents listen. It is none that a model's own server is likely
// to take: both share the pod's addresses.
const Port = 9440

// AgentMemory is what an agent may use beside its worker: requests and their
// rows, batches of a file on their way in and out. An idle one uses far less:
// agentRequest is what a node keeps free for it, agentHeap the size at which it
// collects garbage eagerly.
const (
	AgentMemory  = 256 << 20
	agentRequest = 64 << 20
	agentHeap    = AgentMemory * 3 / 4
)

// A pod's parts and places.
const (
	modelContainer = "model" // the agent, and the worker that it starts
	initContainer  = "agent"
	agentVolume    = "agent"
	configVolume   = "config"
	scratchVolume  = "scratch"

	agentMount   = "/mm-agent"
	copyMount    = "/mm-copy" // in the init container, whose image has a file /mm-agent
	agentProgram = "mm-agent" // in the agent's image, at its root
	configMount  = "/mm-config"
	configFile   = "config.json"
	scratchMount = "/tmp"
	runDir       = "/tmp/home"

	keyField   = "key"   // of the Secret: the version's key
	tokenField = "token" // the job's token

	userID = 65532
)

// podPlan is what pods of replicas and of tasks differ in.
type podPlan struct {
	workload      platform.Workload
	labels        map[string]string
	secret        string // name of the agent's configuration
	source        AgentSource
	priorityClass string
	grace         time.Duration
	deadline      time.Duration // 0: none
	restart       corev1.RestartPolicy
	env           []corev1.EnvVar
	probe         *corev1.Probe
	lifecycle     *corev1.Lifecycle
}

// template returns the pods of a plan.
func (o *Options) template(p podPlan) corev1.PodTemplateSpec {
	s := p.workload.Spec
	labels := maps.Clone(p.labels)
	labels[labelEgress] = "none"
	var annotations map[string]string
	if len(s.Network) > 0 {
		labels[labelEgress] = "named"
		annotations = map[string]string{annotationNetwork: strings.Join(s.Network, ",")}
	}
	pod := corev1.PodSpec{
		AutomountServiceAccountToken:  new(false),
		EnableServiceLinks:            new(false),
		RestartPolicy:                 p.restart,
		TerminationGracePeriodSeconds: seconds(p.grace),
		ServiceAccountName:            s.Identity,
		NodeSelector:                  o.NodeSelector,
		Tolerations:                   o.tolerations(),
		PriorityClassName:             p.priorityClass,
		SecurityContext: &corev1.PodSecurityContext{
			RunAsUser: new(int64(userID)), RunAsGroup: new(int64(userID)), RunAsNonRoot: new(true),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers: []corev1.Container{{
			Name:            modelContainer,
			Image:           p.workload.Version.Artifact.Image,
			ImagePullPolicy: corev1.PullIfNotPresent,
			Command:         []string{agentMount + "/" + agentProgram, configMount + "/" + configFile},
			Env:             append(secretVariables(s), p.env...),
			Ports:           ports(p.probe),
			Resources:       resources(s),
			ReadinessProbe:  p.probe,
			Lifecycle:       p.lifecycle,
			SecurityContext: contained(),
			// A task's last words are the reason of its failure.
			TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
			VolumeMounts: []corev1.VolumeMount{
				{Name: agentVolume, MountPath: agentMount, ReadOnly: true},
				{Name: configVolume, MountPath: configMount, ReadOnly: true},
				{Name: scratchVolume, MountPath: scratchMount},
			},
		}},
		Volumes: []corev1.Volume{
			{Name: configVolume, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
				SecretName: p.secret,
				// The key and the token are not among the files: the worker can read those.
				Items: []corev1.KeyToPath{{Key: configFile, Path: configFile}},
			}}},
			{Name: scratchVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{
				SizeLimit: resource.NewQuantity(s.Resources.Disk, resource.BinarySI),
			}}},
		},
	}
	if p.deadline > 0 {
		pod.ActiveDeadlineSeconds = seconds(p.deadline)
	}
	if o.RuntimeClass != "" {
		pod.RuntimeClassName = new(o.RuntimeClass)
	}
	for _, name := range o.ImagePullSecrets {
		pod.ImagePullSecrets = append(pod.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	o.bringAgent(&pod, p.source)
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: annotations},
		Spec:       pod,
	}
}

// bringAgent adds the volume with the agent, and what fills it.
func (o *Options) bringAgent(pod *corev1.PodSpec, source AgentSource) {
	if source == AgentImage {
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: agentVolume, VolumeSource: corev1.VolumeSource{
			Image: &corev1.ImageVolumeSource{Reference: o.AgentImage, PullPolicy: corev1.PullIfNotPresent},
		}})
		return
	}
	pod.Volumes = append(pod.Volumes, corev1.Volume{Name: agentVolume, VolumeSource: corev1.VolumeSource{
		EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: resource.NewQuantity(agentSize, resource.BinarySI)},
	}})
	small := corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(100, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(agentSize, resource.BinarySI),
	}
	pod.InitContainers = []corev1.Container{{
		Name:            initContainer,
		Image:           o.AgentImage,
		ImagePullPolicy: corev1.PullIfNotPresent,
		Command:         []string{"/" + agentProgram, "copy", copyMount + "/" + agentProgram},
		Resources:       corev1.ResourceRequirements{Requests: small, Limits: small},
		SecurityContext: contained(),
		VolumeMounts:    []corev1.VolumeMount{{Name: agentVolume, MountPath: copyMount}},
	}}
}

// agentSize bounds the agent's program, and what copying it may use.
const agentSize = 256 << 20

// contained is the security context of every container.
func contained() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false),
		ReadOnlyRootFilesystem:   new(true),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}

func resources(s *spec.Spec) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{
			corev1.ResourceCPU:    *resource.NewMilliQuantity(s.Resources.CPU, resource.DecimalSI),
			corev1.ResourceMemory: *resource.NewQuantity(s.Resources.Memory+agentRequest, resource.BinarySI),
		},
		Limits: corev1.ResourceList{
			corev1.ResourceCPU:    *resource.NewMilliQuantity(max(s.Resources.CPU, 1000), resource.DecimalSI),
			corev1.ResourceMemory: *resource.NewQuantity(s.Resources.Memory+AgentMemory, resource.BinarySI),
		},
	}
}

// secretVariables are the spec's own secrets: each is in the field `value` of
// the Secret that it names.
func secretVariables(s *spec.Spec) []corev1.EnvVar {
	var list []corev1.EnvVar
	for _, secret := range s.Secrets {
		list = append(list, fromSecret(secret.Env, secret.Name, "value"))
	}
	return append(list, corev1.EnvVar{Name: "GOMEMLIMIT", Value: fmt.Sprint(agentHeap)})
}

func fromSecret(variable, name, field string) corev1.EnvVar {
	return corev1.EnvVar{Name: variable, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: field,
	}}}
}

func ports(probe *corev1.Probe) []corev1.ContainerPort {
	if probe == nil {
		return nil
	}
	return []corev1.ContainerPort{{Name: "agent", ContainerPort: Port, Protocol: corev1.ProtocolTCP}}
}

// readiness asks the agent. Gateways hear of a ready agent from the driver,
// which asks by itself; the probe is for a replica that was ready and is no
// more, and for the Deployment.
func readiness() *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			Path: agent.PathHealth, Port: intstr.FromInt32(Port), Scheme: corev1.URISchemeHTTP,
		}},
		PeriodSeconds: 1, TimeoutSeconds: 2, FailureThreshold: 2, SuccessThreshold: 1,
	}
}

// lateToStop is a replica's last second as before: gateways hear that it stops
// before it does. And a process that is the first of its container loses a
// signal that comes before it can take one, so that a replica which is told to
// stop while it starts would go on until it is killed.
func lateToStop() *corev1.Lifecycle {
	return &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 1}}}
}

func seconds(d time.Duration) *int64 {
	whole := int64((d + time.Second - 1) / time.Second)
	return &whole
}
