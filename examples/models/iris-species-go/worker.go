// Copy this file into a model written in Go, in package main, and call Serve:
//
//	func main() {
//		Serve(func(rows []map[string]any, params map[string]any) ([]map[string]any, error) {
//			…
//		})
//	}
//
// Numbers are float64, integers of the format int64 are strings, dates are
// strings. It needs the standard library alone, and Go 1.21. Log to os.Stderr
// or os.Stdout as you like: the agent is spoken to on other descriptors.

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
)

// Predict returns one prediction for each row, in the same order. A nil
// prediction refuses its row.
type Predict func(rows []map[string]any, params map[string]any) ([]map[string]any, error)

// RowErrors refuses some rows: the error of a Predict that has predictions for
// the others. Rows count from 0.
type RowErrors map[int]string

// Error implements error.
func (e RowErrors) Error() string { return fmt.Sprintf("%d rows are refused", len(e)) }

// Serve answers the agent until it has no more requests. Load the model
// before: the agent sends rows once Serve is called.
func Serve(predict Predict) {
	if err := serve(predict); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type workerHello struct {
	Format string         `json:"format"`
	Params map[string]any `json:"params"`
}

type workerRequest struct {
	ID   int64            `json:"id"`
	Rows []map[string]any `json:"rows"`
}

type workerRefusal struct {
	Row     int    `json:"row"`
	Message string `json:"message"`
}

type workerAnswer struct {
	ID          int64            `json:"id"`
	Predictions []map[string]any `json:"predictions,omitempty"`
	Errors      []workerRefusal  `json:"errors,omitempty"`
	Error       string           `json:"error,omitempty"`
	Retry       bool             `json:"retry,omitempty"`
}

func serve(predict Predict) error {
	requests := json.NewDecoder(bufio.NewReaderSize(os.NewFile(3, "requests"), 1<<16))
	output := os.NewFile(4, "answers")
	if _, err := output.WriteString(`{"ready":true,"protocol":1,"formats":["rows"]}` + "\n"); err != nil {
		return fmt.Errorf("this program is a model: its agent starts it (%w)", err)
	}
	var hello workerHello
	if !requests.More() {
		return nil
	}
	if err := requests.Decode(&hello); err != nil {
		return fmt.Errorf("reading the agent's greeting: %w", err)
	}
	for requests.More() {
		var request workerRequest
		if err := requests.Decode(&request); err != nil {
			return fmt.Errorf("reading a request: %w", err)
		}
		line, err := json.Marshal(answerOf(predict, request, hello.Params))
		if err != nil { // NaN, for instance
			line, _ = json.Marshal(workerAnswer{ID: request.ID, Error: err.Error()})
		}
		if _, err := output.Write(append(line, '\n')); err != nil {
			return fmt.Errorf("writing an answer: %w", err)
		}
	}
	return nil
}

// answerOf calls predict; a panic is the failure of this call alone.
func answerOf(predict Predict, request workerRequest, params map[string]any) (answer workerAnswer) {
	answer.ID = request.ID
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(os.Stderr, "panic: %v\n%s", r, debug.Stack())
			answer = workerAnswer{ID: request.ID, Error: fmt.Sprintf("panic: %v", r)}
		}
	}()
	predictions, err := predict(request.Rows, params)
	var refused RowErrors
	if errors.As(err, &refused) {
		if predictions == nil {
			predictions = make([]map[string]any, len(request.Rows))
		}
		for row, message := range refused {
			answer.Errors = append(answer.Errors, workerRefusal{row, message})
		}
		err = nil
	}
	if err != nil {
		var network net.Error
		answer.Error, answer.Retry = err.Error(), errors.As(err, &network)
		return answer
	}
	if predictions == nil {
		answer.Error = "predict returned nothing"
	}
	answer.Predictions = predictions
	return answer
}
