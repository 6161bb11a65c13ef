// Command probe is what the tests of the cluster itself run in pods: without
// an argument it serves HTTP on port 8080, where /fetch?url= says whether it can
// reach a URL; `probe job` says which part of its job it is, and ends;
// `probe fetch URL` says at once whether it can reach that.
package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"time"
)

func main() {
	switch {
	case len(os.Args) == 2 && os.Args[1] == "job":
		fmt.Println("index", os.Getenv("JOB_COMPLETION_INDEX"))
		return
	case len(os.Args) == 3 && os.Args[1] == "fetch":
		fmt.Println(fetch(os.Args[2]))
		return
	}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		host, _ := os.Hostname()
		fmt.Fprintf(w, "%s as %d", host, os.Getuid())
	})
	http.HandleFunc("/fetch", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, fetch(r.FormValue("url")))
	})
	server := &http.Server{Addr: ":8080", ReadHeaderTimeout: 10 * time.Second}
	fmt.Fprintln(os.Stderr, server.ListenAndServe())
	os.Exit(1)
}

// fetch says "reached" if anything answers, whatever it says.
func fetch(url string) string {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // to be reached is all that counts
	}}
	response, err := client.Get(url)
	if err != nil {
		return err.Error()
	}
	response.Body.Close()
	return "reached"
}
