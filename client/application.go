package client

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
)

// ErrInHook is returned by Ready in code of the application that a client called,
// since it could wait for that code. This is found on the stack: it includes the
// code that another client called, and leaves out goroutines that a hook started. A
// hook that waits for such a goroutine while that is in Ready waits for itself.
var ErrInHook = errors.New("called from a hook, a validation or a decoder of the application")

// PanicError is the reason for rejecting a value whose decoding or validation
// panicked.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// errGoexit is the reason for rejecting a value whose decoding ended its
// goroutine.
var errGoexit = errors.New("runtime.Goexit was called")

// callApplication calls code of the application, which may panic, or end the
// goroutine. inApplication finds it on the stack.
//
//go:noinline
func callApplication(call func()) (panicked *PanicError) {
	defer func() {
		if r := recover(); r != nil {
			panicked = &PanicError{Value: r, Stack: debug.Stack()}
		}
	}()
	call()
	return nil
}

// inApplication reports whether the caller was called by code of the application
// that a client called. It takes microseconds.
func inApplication() bool {
	callers := make([]uintptr, 256)
	for skip := 1; ; skip += len(callers) {
		n := runtime.Callers(skip, callers)
		frames := runtime.CallersFrames(callers[:n])
		for {
			frame, more := frames.Next()
			if strings.HasSuffix(frame.Function, "/client.callApplication") {
				return true
			}
			if !more {
				break
			}
		}
		if n < len(callers) {
			return false
		}
	}
}

// errands are calls of the application's code, which are made in order, one at
// a time, on a goroutine that ends when there are none left.
type errands struct {
	mu sync.Mutex // guards what follows

	queue    []func()
	running  bool
	pushed   uint64        // how many there were
	returned uint64        // how many have returned
	moved    chan struct{} // closed when returned grows; nil without waiters
}

// push appends a call.
func (e *errands) push(call func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queue = append(e.queue, call)
	e.pushed++
	if !e.running {
		e.running = true
		go e.run()
	}
}

// waiting is how many calls have not returned.
func (e *errands) waiting() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return int(e.pushed - e.returned)
}

// run makes the calls. One that ends the goroutine has the next ones made on
// another.
func (e *errands) run() {
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if len(e.queue) == 0 {
			e.running = false
			return
		}
		go e.run()
	}()
	for e.next() {
	}
}

// next makes the next call, and reports whether there may be more.
func (e *errands) next() bool {
	e.mu.Lock()
	if len(e.queue) == 0 {
		e.mu.Unlock()
		return false
	}
	call := e.queue[0]
	e.queue = e.queue[1:]
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.returned++
		if e.moved != nil {
			close(e.moved)
			e.moved = nil
		}
	}()
	call()
	return true
}

// wait returns when all calls that have been pushed so far have returned.
func (e *errands) wait(ctx context.Context, closed <-chan struct{}) error {
	e.mu.Lock()
	until := e.pushed
	for {
		if e.returned >= until {
			e.mu.Unlock()
			return nil
		}
		if e.moved == nil {
			e.moved = make(chan struct{})
		}
		moved := e.moved
		e.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-closed:
			return ErrClosed
		}
		e.mu.Lock()
	}
}
