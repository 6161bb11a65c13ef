package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// errRawOutput is for who wants a file and JSON on one standard output.
var errRawOutput = usageError{errors.New("-o json and rows can't both go to standard output; write the rows to a file")}

// newJobsRejected makes the command that writes rejected rows.
func newJobsRejected(g *global) *cobra.Command {
	command := newJobsStream(g, "rejected", "Write a job's rejected rows, with reasons, as JSON Lines or a table")
	stream := command.RunE
	format := command.Flags().String("format", "jsonl", "jsonl; or csv or xlsx, tables with the input's columns and the reason")
	command.RunE = func(command *cobra.Command, args []string) error {
		if *format == "jsonl" {
			return stream(command, args)
		}
		path, err := command.Flags().GetString("file")
		if err != nil {
			return err
		}
		if path == "-" && g.output == "json" {
			return errRawOutput
		}
		if err := writable(path); err != nil {
			return err
		}
		api, err := g.client()
		if err != nil {
			return err
		}
		table, err := api.JobRejectedTable(command.Context(), args[0], *format)
		if err != nil {
			return err
		}
		if err := g.copyTo(path, table); err != nil {
			return err
		}
		return g.written(path)
	}
	return command
}

// newJobsStream makes the command that writes one of a job's streams.
func newJobsStream(g *global, what, short string) *cobra.Command {
	var path string
	command := &cobra.Command{
		Use:   what + " JOB",
		Short: short,
		Args:  exactly("JOB"),
		RunE: func(command *cobra.Command, args []string) error {
			asJSON := path == "-" && g.output == "json"
			switch {
			case asJSON && what == "output":
				return errRawOutput
			case asJSON:
				return g.showJobStream(command.Context(), args[0], what)
			}
			if err := writable(path); err != nil {
				return err
			}
			if err := g.writeJobStream(command.Context(), args[0], what, path); err != nil {
				return err
			}
			return g.written(path)
		},
	}
	command.Flags().StringVar(&path, "file", "-", "where to write; - is standard output")
	return command
}

// openJobStream opens a job's output, rejected rows or logs.
func (g *global) openJobStream(ctx context.Context, job, what string) (io.ReadCloser, error) {
	api, err := g.client()
	if err != nil {
		return nil, err
	}
	open := map[string]func(context.Context, string) (io.ReadCloser, error){
		"output": api.JobOutput, "rejected": api.JobRejected, "logs": api.JobLogs,
	}[what]
	return open(ctx, job)
}

// writeJobStream writes one of a job's streams to a file, which appears only
// when it is complete.
func (g *global) writeJobStream(ctx context.Context, job, what, path string) error {
	stream, err := g.openJobStream(ctx, job, what)
	if err != nil {
		return err
	}
	return g.copyTo(path, stream)
}

// showJobStream prints rejected rows or logs as one JSON value.
func (g *global) showJobStream(ctx context.Context, job, what string) error {
	stream, err := g.openJobStream(ctx, job, what)
	if err != nil {
		return err
	}
	defer stream.Close()
	if what == "logs" {
		return g.showLines(stream)
	}
	rows := []json.RawMessage{}
	for decoder := json.NewDecoder(stream); ; {
		var row json.RawMessage
		err := decoder.Decode(&row)
		if errors.Is(err, io.EOF) {
			return g.show(map[string]any{"rejected": rows}, nil)
		}
		if err != nil {
			return fmt.Errorf("reading the rejected rows of job %s: %w", job, err)
		}
		rows = append(rows, row)
	}
}

// showLines prints a log: as it is, or its lines as JSON.
func (g *global) showLines(log io.Reader) error {
	if g.output != "json" {
		_, err := io.Copy(g.Out, log)
		return err
	}
	text, err := io.ReadAll(log)
	if err != nil {
		return err
	}
	lines := []string{}
	if text = bytes.TrimSuffix(text, []byte("\n")); len(text) > 0 {
		lines = strings.Split(string(text), "\n")
	}
	return g.show(map[string]any{"lines": lines}, nil)
}

// written says in JSON where a file is; people know what they have typed.
func (g *global) written(path string) error {
	if path == "-" {
		return nil
	}
	return g.show(map[string]string{"file": path}, func(io.Writer) {})
}

// copyTo writes a stream to a file, or to standard output for "-", and closes it.
func (g *global) copyTo(path string, stream io.ReadCloser) error {
	defer stream.Close()
	if path == "-" && isTerminal(g.Out) { // where the rows themselves are seen
		_, err := io.Copy(g.Out, stream)
		return err
	}
	title := "fetching"
	if path != "-" {
		title += " " + filepath.Base(path)
	}
	bar := newByteBar(g.Err, -1, title)
	defer bar.end()
	data := io.TeeReader(stream, bar)
	if path == "-" {
		_, err := io.Copy(g.Out, data)
		return err
	}
	return writeFile(path, data)
}
