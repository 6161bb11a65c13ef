package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/api"
	"modelmanager.dev/internal/gateway"
	"modelmanager.dev/internal/http1"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/spec"
)

// body is a request of one row with thirty features, 771 bytes.
func body() string {
	var row strings.Builder
	row.WriteString(`{"rows":[{`)
	for i := range 30 {
		if i > 0 {
			row.WriteByte(',')
		}
		fmt.Fprintf(&row, `"feature_number_%02d":%d`, i, 100+i)
	}
	row.WriteString(`}]}`)
	return row.String() + strings.Repeat(" ", 771-row.Len())
}

// answer is one of 150 bytes.
func answer() string {
	text := `{"model":"m","version":3,"predictions":[{"probability":0.0712}]}`
	return text + strings.Repeat(" ", 150-len(text))
}

// serveUpstream is the stub of an agent: it answers the same to everything, on
// a Unix socket and on TCP.
func serveUpstream(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("serve-upstream", flag.ContinueOnError)
	socket := flags.String("socket", "", "where to listen")
	delay := flags.Duration("delay", 0, "how long an answer takes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	text, length := []byte(answer()), strconv.Itoa(len(answer()))
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if *delay > 0 {
			time.Sleep(*delay)
		}
		w.Header()["Content-Type"] = []string{"application/json"}
		w.Header()["Content-Length"] = []string{length}
		_, _ = w.Write(text)
	})
	local, err := net.Listen("unix", *socket)
	if err != nil {
		return err
	}
	go http.Serve(local, handler)
	return serve(ctx, handler, func(plain *http.Server) server { return plain })
}

// server is what answers on a listener.
type server interface {
	Serve(listener net.Listener) error
	Close() error
}

// serve answers on some TCP port, and prints it.
func serve(ctx context.Context, handler http.Handler, wrap func(*http.Server) server) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	server := wrap(&http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute})
	go server.Serve(listener)
	<-ctx.Done()
	return server.Close()
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

// serveGateway is the real gateway, for one model with one replica.
func serveGateway(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("serve-gateway", flag.ContinueOnError)
	socket := flags.String("upstream", "", "the replica's socket")
	profile := flags.String("profile", "", "write a CPU profile to this file")
	if err := flags.Parse(args); err != nil {
		return err
	}
	runtime.GOMAXPROCS(1) // as many as nginx has workers
	if *profile != "" {
		file, err := os.Create(*profile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	g, err := gateway.New(gateway.Config{Registry: oneModel{}, Platform: oneReplica{*socket}, Workload: workload})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/models/{model}/predict", func(w http.ResponseWriter, r *http.Request) {
		g.Predict(w, r, r.PathValue("model"), 0)
	})
	return serve(ctx, mux, func(rest *http.Server) server {
		return http1.New(http1.Config{Takes: api.IsPrediction, Handler: mux, Rest: rest})
	})
}

type oneModel struct{}

func (oneModel) Get(context.Context, string) (modelmanager.Model, error) {
	return modelmanager.Model{Name: "m", Serve: []modelmanager.Mode{modelmanager.RealTime}, History: []modelmanager.Traffic{modelmanager.All(3)}}, nil
}

func (oneModel) Subscribe(func(modelmanager.Model)) func() { return func() {} }

type oneReplica struct{ socket string }

func (o oneReplica) Subscribe(event func(platform.ReplicaEvent)) func() {
	event(platform.ReplicaEvent{Replica: platform.Replica{
		ID: "r", Ref: platform.Ref{Model: "m", Version: 3}, Network: "unix", Address: o.socket, Key: "secret", Stage: agent.StageReady,
	}})
	event(platform.ReplicaEvent{Synced: true})
	return func() {}
}

func (oneReplica) Ensure(context.Context, platform.Workload) error { return nil }
func (oneReplica) Stage(platform.Ref) (agent.Stage, string)        { return agent.StageReady, "" }

func workload(_ context.Context, ref platform.Ref) (platform.Workload, error) {
	return platform.Workload{Version: modelmanager.Version{Model: ref.Model, Number: ref.Version}, Spec: new(spec.Spec)}, nil
}
