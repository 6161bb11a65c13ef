// Command networkpolicy enforces the NetworkPolicies of a cluster of one node,
// with nftables. It watches pods, namespaces and policies, and writes one table
// anew, atomically, whenever what it should say has changed.
//
// It is part of the test cluster, whose pods each have a link of their own to
// the host: what they send passes the host's hooks forward (to a pod) or input
// (to the node). What the node itself sends to its pods is always allowed, as
// Kubernetes wants it. Connections that exist are not cut.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "the cluster")
	folder := flag.String("cni-results", "/var/lib/cni/results", "where the CNI library remembers the networks it made")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *kubeconfig, *folder); err != nil {
		fmt.Fprintln(os.Stderr, "networkpolicy:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig, folder string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	watches := []cache.SharedIndexInformer{
		factory.Core().V1().Pods().Informer(),
		factory.Core().V1().Namespaces().Informer(),
		factory.Networking().V1().NetworkPolicies().Informer(),
	}
	changed := make(chan struct{}, 1)
	note := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	for _, watch := range watches {
		_, err := watch.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { note() },
			UpdateFunc: func(any, any) { note() },
			DeleteFunc: func(any) { note() },
		})
		if err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	addresses := &addressFolder{path: folder}
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	written := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-look.C:
			if !addresses.refresh(now) {
				continue
			}
		case <-changed:
			addresses.refresh(time.Now())
		}
		text := render(state{
			pods:       withAddresses(list[*corev1.Pod](watches[0]), addresses.known),
			namespaces: list[*corev1.Namespace](watches[1]),
			policies:   list[*networkingv1.NetworkPolicy](watches[2]),
		})
		if text == written {
			continue
		}
		if err := apply(ctx, text); err != nil {
			log.Print(err)
			time.AfterFunc(time.Second, note)
			continue
		}
		written = text
	}
}

// withAddresses returns the pods with the addresses that the node knows of,
// which may be newer than those in their status.
func withAddresses(pods []*corev1.Pod, known map[types.UID]netip.Addr) []*corev1.Pod {
	for i, pod := range pods {
		if address, ok := known[pod.UID]; ok && pod.Status.PodIP != address.String() {
			pods[i] = pod.DeepCopy() // the informer's own is not to be touched
			pods[i].Status.PodIP = address.String()
		}
	}
	return pods
}

func list[T any](informer cache.SharedIndexInformer) []T {
	var all []T
	for _, object := range informer.GetStore().List() {
		if typed, ok := object.(T); ok {
			all = append(all, typed)
		}
	}
	return all
}

func apply(ctx context.Context, text string) error {
	command := exec.CommandContext(ctx, "nft", "-f", "-")
	command.Stdin = strings.NewReader(text)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("writing the rules: %w: %s\n%s", err, output, text)
	}
	return nil
}
