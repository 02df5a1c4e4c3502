package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/statesync/statesync/client/internal/hook"
)

func init() {
	hook.Verify = func(c any) error { return c.(*Client).verifier.verify() }
	hook.Verifying = Option(func(o *openOptions) { o.verifier = new(verifier) })
	hook.InApplication = inApplication
}

// verifier remembers what bindings handed out, so that package clienttest can
// find out whether the program changed it.
type verifier struct {
	mu     sync.Mutex     // guards what follows
	checks []func() error // one for each value
}

func (v *verifier) add(check func() error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.checks = append(v.checks, check)
}

// verify decodes, and so the application's code may add values meanwhile.
func (v *verifier) verify() error {
	v.mu.Lock()
	checks := slices.Clone(v.checks)
	v.mu.Unlock()
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// handedOutDefault remembers a default, which must have the same JSON later. One
// that has no JSON is not verified.
func (v *verifier) handedOutDefault(config string, value any) {
	was, _ := json.Marshal(value)
	v.add(func() error {
		if is, _ := json.Marshal(value); !bytes.Equal(is, was) {
			return fmt.Errorf("config %s: the program changed the default %T that a binding handed out: it is %s and was %s", config, value, is, was)
		}
		return nil
	})
}

// handedOut remembers a value, which must be equal to what its version decodes to
// later.
func handedOut[T any](v *verifier, b *Binding[T], of *version, value *T) {
	v.add(func() error {
		fresh := result[T]{version: of}
		if err := b.decode(&fresh); err == nil && !reflect.DeepEqual(fresh.value, value) {
			return fmt.Errorf("config %s: the program changed a %T that a binding handed out: it is %+v and was %+v", b.config, value, *value, *fresh.value)
		}
		return nil
	})
}
