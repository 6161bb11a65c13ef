package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"slices"

	"modelmanager.dev"
	authkube "modelmanager.dev/internal/auth/kube"
	"modelmanager.dev/internal/cli"
	"modelmanager.dev/internal/environment"
	"modelmanager.dev/internal/kube"
	leaderkube "modelmanager.dev/internal/leader/kube"
	peerskube "modelmanager.dev/internal/peers/kube"
	"modelmanager.dev/internal/pipeline"
	"modelmanager.dev/internal/platform"
	platformkube "modelmanager.dev/internal/platform/kube"
	registrykube "modelmanager.dev/internal/registry/kube"
	"modelmanager.dev/internal/server"
	"modelmanager.dev/internal/storage"
)

// kubernetes makes a server's configuration on a cluster, where all state is
// Kubernetes' own objects and the object storage. The data folder has nothing
// but temporary files.
func (o *serveOptions) kubernetes(ctx context.Context, logger *slog.Logger) (config server.Config, err error) {
	var none server.Config
	var open []io.Closer // to be closed again if the rest fails
	defer func() {
		if err != nil {
			for _, one := range slices.Backward(open) {
				err = errors.Join(err, one.Close())
			}
		}
	}()
	if err := o.cluster.check(); err != nil {
		return none, err
	}
	port, err := o.cluster.internalPort()
	if err != nil {
		return none, err
	}
	data, err := filepath.Abs(o.data)
	if err != nil {
		return none, err
	}
	if err := o.cluster.secrets.Take(); err != nil {
		return none, err
	}
	kube.LogTo(logger)
	cluster, err := kube.Connect(o.cluster.kubeconfig, "model-manager/"+cli.ProgramVersion())
	if err != nil {
		return none, err
	}
	key, err := kube.Key(ctx, cluster, o.cluster.podNamespace(), o.cluster.keySecret)
	if err != nil {
		return none, err
	}
	store, err := registrykube.Open(cluster, registrykube.Options{Namespace: o.cluster.namespace, Logger: logger})
	if err != nil {
		return none, err
	}
	open = append(open, store)
	bucket, err := storage.Open(ctx, o.storage)
	if err != nil {
		return none, err
	}
	open = append(open, bucket)
	scratch := filepath.Join(data, "scratch")
	if err := empty(scratch); err != nil {
		return none, err
	}
	rights, err := authkube.New(cluster, authkube.Options{Audience: o.cluster.audience, Namespace: o.cluster.namespace})
	if err != nil {
		return none, err
	}
	people, err := o.cluster.people()
	if err != nil {
		return none, err
	}
	elector, err := leaderkube.New(cluster, leaderkube.Options{
		Namespace: o.cluster.podNamespace(), Identity: o.cluster.podName(), Logger: logger,
	})
	if err != nil {
		return none, err
	}
	others, err := peerskube.New(cluster, peerskube.Options{
		Namespace: o.cluster.podNamespace(), Selector: o.cluster.selector, Self: o.cluster.podName(), Port: port,
	})
	if err != nil {
		return none, err
	}
	builder, err := cli.BuildKit()
	if err != nil {
		return none, err
	}
	tolerations, err := platformkube.ParseTolerations(o.cluster.tolerations)
	if err != nil {
		return none, err
	}
	go func() { _ = others.Run(ctx) }() // it ends with ctx
	environments := &environment.Manager{Dir: filepath.Join(data, "environments"), Logger: logger}
	config = server.Config{
		Listen: o.listen, Hosts: o.hosts, Models: o.models, Allowed: o.allowed, Retention: o.retention, MaxUpload: o.maxUpload.bytes,
		ThroughServer: o.cluster.storageURLs == "server",
		Internal:      o.cluster.internalListen, InternalURL: o.cluster.internalURL,
		Key: key, Store: store, Prune: true, Bucket: bucket,
		Artifacts: modelmanager.Artifacts{
			Kind: modelmanager.ArtifactImage, Repository: o.cluster.repository(), Platform: o.cluster.imagePlatform, Bases: o.cluster.bases,
		},
		Image: o.cluster.gate().Artifact, ImageFile: o.cluster.gate().Registry.File,
		Assembly: &pipeline.Images{
			Repository: o.cluster.repository(), Platform: o.cluster.imagePlatform, Bases: o.cluster.bases, Builder: builder,
			Insecure: o.cluster.insecure, Cache: filepath.Join(data, "images"), Environments: environments, Scratch: scratch,
		},
		Driver: func(host server.Host) (platform.Driver, error) {
			return platformkube.New(platformkube.Options{
				Config: cluster, Namespace: o.cluster.namespace, Key: host.Key,
				AgentImage: o.cluster.agentImage, AgentSource: platformkube.AgentSource(o.cluster.agentSource),
				Tolerations: tolerations, RuntimeClass: o.cluster.runtimeClass,
				PriorityClass: o.cluster.priority, BatchPriorityClass: o.cluster.batchPriority,
				Queue: o.cluster.queue, NodeSelector: o.cluster.nodeSelector, ImagePullSecrets: o.cluster.pullSecrets,
				Logger: logger,
			})
		},
		Validator: &pipeline.Validator{
			Environments: environments, Files: &pipeline.Files{Prefixes: o.filesFrom, Cache: filepath.Join(data, "files")}, Scratch: scratch,
			Secret: o.cluster.secrets.Of,
		},
		Auth:    o.cluster.callers(rights, people, logger),
		Elector: elector,
		Peers:   others,
		Name:    o.cluster.podName(),
		Version: cli.ProgramVersion(), Logger: logger,
	}
	if err := o.cluster.page(&config, people); err != nil {
		return none, err
	}
	return config, nil
}
