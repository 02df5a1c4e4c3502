//go:build unix

package client_test

import (
	"errors"
	"testing"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/client/clienttest"
)

// funcError is an error whose text a function makes.
type funcError func() string

func (e funcError) Error() string { return e() }

// limitError is an error that cannot be printed if it is nil.
type limitError struct{ limit int }

func (e *limitError) Error() string { return "over " + string(rune('0'+e.limit)) }

// A nil *limitError in an error is not nil, and its Error panics. The value is
// rejected and the process goes on.
func TestErrorThatPanicsRejectsTheValue(t *testing.T) {
	t.Parallel()
	for name, validate := range map[string]func(*number) error{
		"typed nil": func(*number) error { var none *limitError; return none },
		"panic":     func(*number) error { return funcError(func() string { panic("out of luck") }) },
	} {
		var log logged
		r := clienttest.New(t)
		r.Set("a", number{1})
		c := r.Client(log.option())
		b := client.Bind(c, "a", client.Options[number]{Default: number{42}, Validate: func(n *number) error {
			if n.N == 1 || n.N == 2 {
				return validate(n)
			}
			return nil
		}})
		want(t, "Get, "+name, b.Get().N, 42)
		r.Set("a", number{2})
		var panicked *client.PanicError
		if err := b.Err(); !errors.As(err, &panicked) {
			t.Errorf("%s: the reason is %v, and a *PanicError was expected", name, err)
		}
		log.want(t, "WARN", "a value is rejected", "config=a")
		r.Set("a", number{3})
		want(t, "Get, "+name, b.Get().N, 3)
	}
}

// The text of an error is made by code of the application, which may use the
// client that asks for it.
func TestErrorThatCallsBack(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("a", number{1})
	c := r.Client()
	ready := make(chan struct{})
	var b *client.Binding[number]
	b = client.Bind(c, "a", client.Options[number]{Validate: func(n *number) error {
		if n.N != 2 {
			return nil
		}
		return funcError(func() string {
			<-ready
			client.Bind[number](c, "a")
			client.Bind[number](c, "b")
			for range b.Changes(t.Context()) {
				break
			}
			_, _ = c.Bindings(), c.Stats()
			return "calls back"
		})
	}})
	close(ready)
	set := async(func() uint64 { return r.Set("a", number{2}) })
	want(t, "the generation", inTime(t, "the value is rejected", set), 3)
	want(t, "Get", b.Get().N, 1)
	err := b.Err()
	wantError(t, err, err, "calls back")
}
