package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	arrowmemory "github.com/apache/arrow-go/v18/arrow/memory"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/agent/serve"
	"modelmanager.dev/internal/agent/shard"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/platform/control"
	"modelmanager.dev/internal/spec"
)

// loaded has the versions of which a replica has loaded.
var loaded sync.Map

// load loads a replica as the version's spec says.
func load(ctx context.Context, workload platform.Workload, report func(agent.Stage, string)) error {
	broken := errors.New("ModuleNotFoundError: No module named 'sklearn'; the model's folder has no requirements.txt that names it")
	switch workload.Spec.Params[loads] {
	case loadsNot:
		return broken
	case loadsNever:
		report(agent.StageLoading, "the model has been loading for longer than usual")
		<-ctx.Done()
		return ctx.Err()
	case loadsOnce:
		if _, before := loaded.LoadOrStore(workload.Ref(), true); before {
			return broken
		}
	}
	return nil
}

// predict answers a call as an agent does.
func predict(workload platform.Workload, rw http.ResponseWriter, r *http.Request) {
	features, err := dataset.Compile(workload.Spec.Features)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	predictions, err := dataset.Compile(workload.Spec.Predictions)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	queue := serve.NewQueue(&predictor{workload.Spec}, serve.QueueOptions{Waiting: 100, BatchRows: 100})
	defer func() { _ = queue.Drain(context.Background()) }()
	handler := &serve.Handler{
		Model: workload.Version.Model, Version: workload.Version.Number, Features: features, Predictions: predictions,
		Queue: queue, TimeoutHeader: agent.HeaderTimeout, PredictedHeader: agent.HeaderPredicted, InvalidHeader: agent.HeaderInvalid,
	}
	handler.ServeHTTP(rw, r)
}

// task runs a task of a job as an agent does.
func task(ctx context.Context, task control.Task) error {
	run := task.Run
	config := agent.Config{Model: run.Workload.Version.Model, Task: &agent.Task{
		Server: run.Server, Token: run.Token, Job: run.Job, Step: string(run.Step), Index: task.Index, Attempt: task.Attempt,
	}}
	_, err := shard.Run(ctx, config, func(context.Context) (worker.Predictor, error) { return &predictor{run.Workload.Spec}, nil })
	return err
}

// predictor predicts something that depends on the row's place alone.
type predictor struct{ spec *spec.Spec }

func (p *predictor) Predict(ctx context.Context, rows arrow.RecordBatch) (*worker.Answer, error) {
	if p.spec.Params[answers] == answersJobs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	n := int(rows.NumRows())
	var fields []arrow.Field
	var columns []arrow.Array
	for _, field := range p.spec.Predictions {
		if field.Type == modelmanager.String {
			column := array.NewStringBuilder(arrowmemory.DefaultAllocator)
			for i := range n {
				column.Append(field.Enum[i*i%len(field.Enum)].(string))
			}
			fields, columns = append(fields, arrow.Field{Name: field.Name, Type: arrow.BinaryTypes.String}), append(columns, column.NewArray())
			continue
		}
		column := array.NewFloat64Builder(arrowmemory.DefaultAllocator)
		for i := range n {
			column.Append(float64(i*i%1009) / 1009)
		}
		fields, columns = append(fields, arrow.Field{Name: field.Name, Type: arrow.PrimitiveTypes.Float64}), append(columns, column.NewArray())
	}
	return &worker.Answer{Record: array.NewRecordBatch(arrow.NewSchema(fields, nil), columns, int64(n))}, nil
}

// CPU implements what a shard tells of its cost.
func (*predictor) CPU() time.Duration { return time.Second }

func (*predictor) Close() error { return nil }

// jsonOf is a row of a request.
func jsonOf(features map[string]json.RawMessage) ([]json.RawMessage, error) {
	row, err := json.Marshal(features)
	return []json.RawMessage{row}, err
}
