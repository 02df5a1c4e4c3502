//go:build unix

package client_test

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/client/clienttest"
)

// Values that are rejected are not yielded, nor those of a config that is gone.
func TestChangesAreAcceptedValues(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	c := r.Client()
	b := client.Bind[number](c, "a")
	next, stop := iter.Pull(b.Changes(t.Context()))
	defer stop()
	r.Set("a", configs{"N": "x"})
	r.Set("a", number{3})
	first, _ := next()
	if first.Old != nil {
		t.Errorf("the first change has the old value %v", *first.Old)
	}
	want(t, "New", first.New.N, 3)
	want(t, "Generation", first.Generation, 3)
	r.Set("a", configs{"N": "x"})
	r.Delete("a")
	r.Set("a", number{6})
	second, _ := next()
	want(t, "Old", second.Old, first.New)
	want(t, "New", second.New.N, 6)
	want(t, "Get", b.Get(), second.New)
}

func TestChangesYieldTheNewestOnly(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("a", number{0})
	c := r.Client()
	b := client.Bind[number](c, "a")
	k := client.BindKey[uint64](c, "a", "N", 0)
	nextKey, stopKey := iter.Pull(k.Changes(t.Context()))
	defer stopKey()
	rounds := 0
	for change := range b.Changes(t.Context()) {
		want(t, "New", change.New.N, uint64(rounds*10))
		if rounds++; rounds == 4 {
			break
		}
		for n := range 10 {
			r.Set("a", number{uint64((rounds-1)*10 + n + 1)})
		}
	}
	change, _ := nextKey()
	want(t, "New of the key", *change.New, 30)
}

func TestChangesEndWithContextAndClient(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	c := open(t, r.Dir())
	b := client.Bind[number](c, "a")
	ended := async(func() bool {
		for range b.Changes(t.Context()) {
			return false
		}
		return true
	})
	must(t, c.Close())
	want(t, "Changes ended without a value", inTime(t, "it ends", ended), true)
}

// A hook that blocks skips what changed meanwhile, and has the newest then.
func TestOnChangeSkipsWhatItWasTooSlowFor(t *testing.T) {
	t.Parallel()
	p := created(t, regionIn(t), 1, configs{"a": number{1}})
	c := open(t, p.dir())
	called, leave := make(chan client.Changed[number]), make(chan struct{})
	b := client.Bind(c, "a", client.Options[number]{OnChange: func(change client.Changed[number]) {
		called <- change
		<-leave
	}})
	want(t, "the first value", inTime(t, "the hook is called", called).New.N, 1)
	for n := uint64(2); n <= 20; n++ {
		must(t, c.WaitGeneration(t.Context(), p.next(t, configs{"a": number{n}})))
		want(t, "Get while the hook blocks", b.Get().N, n)
	}
	leave <- struct{}{}
	change := inTime(t, "the hook is called", called)
	want(t, "Old", change.Old.N, 1)
	want(t, "New", change.New.N, 20)
	leave <- struct{}{}
	select {
	case change := <-called:
		t.Errorf("the hook was called once more, with %v", change.New)
	case <-time.After(20 * time.Millisecond):
	}
}

func TestOnChangeOfAKeyIsForTheKeyOnly(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	c := r.Client()
	var seen []int
	k := client.BindKey(c, "m", "elo", 1200, client.KeyOptions[int]{
		OnChange: func(change client.Changed[int]) { seen = append(seen, *change.New) },
	})
	for _, m := range []configs{{"ping": 1}, {"ping": 2}, {"elo": 1500, "ping": 2}, {"elo": 1500}, {"elo": 1600}, {}} {
		r.Set("m", m)
	}
	want(t, "how often it was called", len(seen), 4)
	for i, n := range []int{1200, 1500, 1600, 1200} {
		want(t, "what it was called with", seen[i], n)
	}
	want(t, "Get", k.Get(), 1200)
}

// A slow hook must not stall a request.
func TestInDoesNotWaitForHooks(t *testing.T) {
	t.Parallel()
	p := created(t, regionIn(t), 1, configs{"a": number{1}})
	c := open(t, p.dir())
	leave := make(chan struct{})
	defer close(leave)
	b := client.Bind(c, "a", client.Options[number]{
		OnChange: func(client.Changed[number]) { <-leave }, Validate: func(*number) error { return nil },
	})
	for n := uint64(2); n < 10; n++ {
		p.next(t, configs{"a": number{n}})
		want(t, "In", b.In(c.Snapshot()).N, n)
	}
}

func TestHookMayAskForWhatItWasCalledFor(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	c := r.Client()
	var seen []uint64
	var b *client.Binding[number]
	bound := make(chan struct{})
	b = client.Bind(c, "a", client.Options[number]{OnChange: func(change client.Changed[number]) {
		<-bound
		seen = append(seen, b.In(c.Snapshot()).N, b.Get().N, change.New.N)
	}})
	close(bound)
	r.Set("a", number{7})
	for _, n := range seen {
		want(t, "what the hook saw", n, 7)
	}
	want(t, "how much it saw", len(seen), 3)
}

// A snapshot that is older than the binding has the same content under another
// version, which is no change.
func TestInOfASnapshotBeforeTheBindingIsNoChange(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("a", number{1})
	c := r.Client()
	before := c.Snapshot()
	calls := 0
	b := client.Bind(c, "a", client.Options[number]{OnChange: func(client.Changed[number]) { calls++ }})
	must(t, c.Ready(t.Context()))
	value := b.Get()
	want(t, "In", b.In(before).N, 1)
	want(t, "Get, which does not move", b.Get(), value)
	must(t, c.Ready(t.Context()))
	want(t, "how often OnChange was called", calls, 1)
}

// What was skipped while a hook blocked does not change the order: the last call
// tells the newest.
func TestLastHookTellsTheNewest(t *testing.T) {
	t.Parallel()
	good := func(n uint64) configs { return configs{"a": number{n}} }
	bad := func(n uint64) configs { return configs{"a": configs{"N": "x", "M": n}} }
	for _, test := range []struct {
		contents []configs
		calls    string
	}{
		{[]configs{bad(2), good(3), bad(4), good(5)}, "1 rejected 5"},
		{[]configs{good(2), bad(3), good(4), bad(5)}, "1 4 rejected"},
		{[]configs{bad(2), good(3), {}}, "1 3 removed"},
		{[]configs{good(2), {}, good(4)}, "1 removed 4"},
	} {
		p := created(t, regionIn(t), 1, good(1))
		c := open(t, p.dir())
		inside, leave := make(chan struct{}, 10), make(chan struct{})
		var calls []string
		client.Bind(c, "a", client.Options[number]{
			OnChange: func(change client.Changed[number]) {
				inside <- struct{}{}
				<-leave
				calls = append(calls, fmt.Sprint(change.New.N))
			},
			OnReject: func(err error) {
				if errors.Is(err, client.ErrNotFound) {
					calls = append(calls, "removed")
				} else {
					calls = append(calls, "rejected")
				}
			},
		})
		inTime(t, "the first call", inside)
		for _, content := range test.contents {
			must(t, c.WaitGeneration(t.Context(), p.next(t, content)))
		}
		close(leave)
		_ = c.Ready(t.Context()) // which waits for the hooks
		want(t, "the calls", strings.Join(calls, " "), test.calls)
	}
}

// A value that is accepted after its config was removed, or rejected, is Get's, and
// the hooks say that it is not the newest content's.
func TestHooksOfAValueThatIsAcceptedLate(t *testing.T) {
	t.Parallel()
	for name, later := range map[string]configs{"removed": {}, "rejected": {"a": number{0}}} {
		var log logged
		asleep, wake := make(chan struct{}, 10), make(chan struct{})
		p := created(t, regionIn(t), 1, configs{})
		c := open(t, p.dir(), log.option())
		var calls []string
		b := client.Bind(c, "a", client.Options[number]{
			OnChange: func(change client.Changed[number]) { calls = append(calls, fmt.Sprint(change.New.N)) },
			OnReject: func(error) { calls = append(calls, name) },
			Validate: func(n *number) error {
				if n.N == 0 {
					return errors.New("zero")
				}
				asleep <- struct{}{}
				<-wake
				return nil
			},
		})
		p.next(t, configs{"a": number{7}})
		inTime(t, "the validation", asleep)
		p.next(t, later)
		b.In(c.Snapshot()) // which settles the later content
		close(wake)
		eventually(t, "the value is accepted", func() bool { return b.Get().N == 7 })
		_ = c.Ready(t.Context())
		log.want(t, "WARN", name)
		if text := strings.Join(calls, " "); !strings.HasSuffix(text, "7 "+name) {
			t.Errorf("the calls are %s", text)
		}
	}
}

func TestRemovalOfARejectedConfigIsTold(t *testing.T) {
	t.Parallel()
	var log logged
	r := clienttest.New(t)
	c := r.Client(log.option())
	var reasons []error
	client.Bind(c, "a", client.Options[number]{OnReject: func(err error) { reasons = append(reasons, err) }})
	r.Set("a", configs{"N": "x"})
	r.Delete("a")
	want(t, "the number of calls", len(reasons), 2)
	wantError(t, reasons[1], client.ErrNotFound, "config a, generation 3")
	log.want(t, "WARN", "a config is removed; the binding keeps its default", "config=a")
	r.Set("a", number{1})
	log.want(t, "INFO", "accepted again", "config=a")
}
