package kube

import (
	"bytes"
	"errors"
	"io"
)

// page is what is read of one answer to a list, beside its items.
type page struct {
	resourceVersion string
	next            string // the token of the next page; "" after the last
}

// readList reads a page of a list, and hands each object over for the time of
// the call. The buffer is there to be used again.
func readList(stream io.Reader, buffer *bytes.Buffer, item func([]byte)) (page, error) {
	buffer.Reset()
	if _, err := buffer.ReadFrom(stream); err != nil {
		return page{}, err
	}
	var p page
	c := &cursor{data: buffer.Bytes()}
	c.fields(func(key string) {
		switch key {
		case "metadata":
			c.fields(func(key string) {
				switch key {
				case "resourceVersion":
					p.resourceVersion = c.text()
				case "continue":
					p.next = c.text()
				default:
					c.skip()
				}
			})
		case "items":
			c.items(func() {
				if object := c.raw(); c.err == nil {
					item(object)
				}
			})
		default:
			c.skip()
		}
	})
	if err := c.end(); err != nil {
		return page{}, err
	}
	if p.resourceVersion == "" {
		return page{}, errors.New("the list has no resource version")
	}
	return p, nil
}
