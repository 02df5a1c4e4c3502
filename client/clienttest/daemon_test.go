//go:build unix

package clienttest_test

import (
	"testing"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/client/clienttest"
)

func TestStopDaemon(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("a", counter{1})
	c := r.Client()
	b := client.Bind[counter](c, "a")
	want(t, "DaemonAlive", c.Stats().DaemonAlive, true)
	r.StopDaemon()
	want(t, "DaemonAlive of a stopped daemon", c.Stats().DaemonAlive, false)
	want(t, "Get of a stopped daemon", b.Get().N, 1)
	r.Set("a", counter{2})
	want(t, "DaemonAlive of one that was started again", c.Stats().DaemonAlive, true)
	want(t, "Get", b.Get().N, 2)
}

func TestHeartBeatsOn(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	c := r.Client()
	time.Sleep(6 * time.Second) // longer than a silent daemon counts as alive
	want(t, "DaemonAlive", c.Stats().DaemonAlive, true)
}

func TestSetProblem(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	c := r.Client()
	want(t, "Problem", c.Stats().Problem, "")
	r.SetProblem("matchmaker.yaml:3:1: not a number")
	want(t, "Problem", c.Stats().Problem, "matchmaker.yaml:3:1: not a number")
	r.Set("a", counter{1})
	want(t, "Problem after a publication", c.Stats().Problem, "matchmaker.yaml:3:1: not a number")
	r.SetProblem("")
	want(t, "Problem", c.Stats().Problem, "")
}

func TestReplaceAndGrow(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("a", counter{1})
	c := r.Client()
	b := client.Bind[counter](c, "a")
	id, value := c.Stats().RegionID, b.Get()
	g := r.Grow()
	want(t, "the region's id after growth", c.Stats().RegionID, id)
	want(t, "the generation after growth", c.Snapshot().Generation(), g)
	want(t, "the value after growth", b.Get(), value)
	g = r.Replace()
	if c.Stats().RegionID == id {
		t.Error("the region has the id that it had")
	}
	want(t, "the generation after a replacement", c.Snapshot().Generation(), g)
	want(t, "the value after a replacement", b.Get(), value)
	r.Set("a", counter{2})
	want(t, "Get", b.Get().N, 2)
}

// Else reading what a hook has written would be a race.
func TestHooksHaveReturnedWhenSetReturns(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	c := r.Client()
	var seen []int
	var rejected []error
	client.Bind(c, "a", client.Options[counter]{
		OnChange: func(change client.Changed[counter]) {
			time.Sleep(5 * time.Millisecond)
			seen = append(seen, change.New.N)
		},
		OnReject: func(err error) { rejected = append(rejected, err) },
	})
	for n := range 5 {
		r.Set("a", counter{n})
		want(t, "what OnChange has seen", len(seen), n+1)
		want(t, "the newest of it", seen[n], n)
	}
	r.Set("a", map[string]string{"N": "no number"})
	r.Delete("a")
	want(t, "what OnReject has seen", len(rejected), 2)
}

func TestSetInAHookFailsTheTest(t *testing.T) {
	t.Parallel()
	wantFailure(t, "Set in a hook", func(t testing.TB) {
		r := clienttest.New(t)
		c := r.Client()
		client.Bind(c, "a", client.Options[counter]{OnChange: func(client.Changed[counter]) { r.Set("b", counter{1}) }})
		r.Set("a", counter{1})
	}, "hook")
}

func TestBytesAreToldOfOpaque(t *testing.T) {
	t.Parallel()
	for _, value := range []any{[]byte("abc"), "abc"} {
		wantFailure(t, "bytes that are no document", func(t testing.TB) { clienttest.New(t).Set("a", value) }, "clienttest.Opaque")
	}
}
