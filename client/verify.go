package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	"github.com/statesync/statesync/client/internal/hook"
)

func init() {
	hook.Verify = func(c any) error { return c.(*Client).verify() }
	hook.Verifying = Option(func(o *openOptions) { o.verifying = true })
}

// verify decodes what bindings handed out once more and compares.
func (c *Client) verify() error {
	c.mu.Lock()
	bindings := slices.Clone(c.bindings)
	c.mu.Unlock()
	for _, b := range bindings {
		if err := b.verify(); err != nil {
			return err
		}
	}
	return nil
}

// handedOut is what a binding has handed out, if package clienttest is to verify
// that it has not been changed.
type handedOut[T any] struct {
	initial *T
	text    []byte // initial as JSON
	later   []accepted[T]
}

func (h *handedOut[T]) initially(value *T) {
	h.initial = value
	h.text, _ = json.Marshal(value) // a value without JSON is not verified
}

func (h *handedOut[T]) add(config *config, value *T) {
	if h.initial != nil {
		h.later = append(h.later, accepted[T]{config: config, value: value})
	}
}

func (b *Binding[T]) verify() error {
	b.mu.Lock()
	h := b.handedOut
	h.later = slices.Clone(h.later)
	b.mu.Unlock()
	if text, _ := json.Marshal(h.initial); !bytes.Equal(text, h.text) {
		return fmt.Errorf("config %s: the program changed the default %T that a binding handed out: it is %s and was %s", b.name, h.initial, text, h.text)
	}
	for _, a := range h.later {
		fresh, err := b.decode(a.config)
		if err == nil && !reflect.DeepEqual(fresh, a.value) {
			return fmt.Errorf("config %s: the program changed a %T that a binding handed out: it is %+v and was %+v", b.name, a.value, *a.value, *fresh)
		}
	}
	return nil
}
