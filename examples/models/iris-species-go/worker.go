package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// serve speaks the worker protocol: requests come on file descriptor 3,
// answers go to 4, one JSON object a line, until there are no more.
func serve(predict func(row map[string]any) (map[string]any, error)) error {
	requests := json.NewDecoder(os.NewFile(3, "requests"))
	answers := json.NewEncoder(os.NewFile(4, "answers"))
	ready := map[string]any{"ready": true, "protocol": 1, "formats": []string{"rows"}}
	if err := answers.Encode(ready); err != nil {
		return fmt.Errorf("saying ready: %w", err)
	}
	var schema json.RawMessage // not needed: the model knows its own features
	if err := requests.Decode(&schema); err != nil {
		return ended(err)
	}
	for {
		var request struct {
			ID   int64            `json:"id"`
			Rows []map[string]any `json:"rows"`
		}
		if err := requests.Decode(&request); err != nil {
			return ended(err)
		}
		if err := answers.Encode(answer(request.ID, request.Rows, predict)); err != nil {
			return fmt.Errorf("answering: %w", err)
		}
	}
}

func answer(id int64, rows []map[string]any, predict func(map[string]any) (map[string]any, error)) map[string]any {
	predictions := make([]map[string]any, len(rows))
	var refused []map[string]any
	for i, row := range rows {
		prediction, err := predict(row)
		if err != nil {
			refused = append(refused, map[string]any{"row": i, "message": err.Error()})
		}
		predictions[i] = prediction
	}
	all := map[string]any{"id": id, "predictions": predictions}
	if refused != nil {
		all["errors"] = refused
	}
	return all
}

// ended tells the end of the requests, which is no error, from a broken pipe.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return fmt.Errorf("reading requests: %w", err)
}
