//go:build unix

package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/client/clienttest"
	"github.com/statesync/statesync/shm/shmtest"
)

// tenants are configs of so many tenants, beside two others.
func tenants(n int) configs {
	all := configs{"a": number{1}, "tenants.md": number{1}}
	for i := range n {
		all[fmt.Sprintf("tenants/%03d", i)] = number{uint64(i)}
	}
	return all
}

func TestConfigsAreInOrder(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Publish(configs{"a": number{1}, "b": clienttest.Opaque("bytes"), "tenants/x": number{2}, "tenants/y": number{3}, "z": number{4}})
	c := r.Client()
	client.Bind[number](c, "tenants/y") // which the client holds
	old := c.Snapshot()
	for prefix, expected := range map[string][]string{
		"":          {"a", "b", "tenants/x", "tenants/y", "z"},
		"tenants/":  {"tenants/x", "tenants/y"},
		"tenants/y": {"tenants/y"},
		"tenants/z": nil,
		"zz":        nil,
	} {
		var names []string
		for doc, err := range old.Configs(prefix) {
			must(t, err)
			names = append(names, doc.Name())
			want(t, "the generation", doc.Generation(), old.Generation())
			want(t, "whether it is opaque", doc.Opaque(), doc.Name() == "b")
			if doc.Name() == "tenants/x" {
				want(t, "its content", doc.IntOr("N", 0), 2)
			}
		}
		if !slices.Equal(names, expected) {
			t.Errorf("with the prefix %q there are %q, and %q were expected", prefix, names, expected)
		}
	}
	// The snapshot stays what it is.
	r.Publish(configs{"a": number{1}})
	n := 0
	for _, err := range old.Configs("") {
		must(t, err)
		n++
	}
	want(t, "the number of configs of the old snapshot", n, 5)
	for range 20 {
		r.Set("a", number{r.Generation()})
	}
	for _, err := range old.Configs("") {
		wantError(t, err, client.ErrExpired)
	}
	must(t, c.Close())
	for _, err := range c.Snapshot().Configs("") {
		wantError(t, err, client.ErrClosed)
	}
}

func TestConfigsWithoutARegion(t *testing.T) {
	t.Parallel()
	n := 0
	for _, err := range open(t, regionIn(t), client.Lazy()).Snapshot().Configs("") {
		wantError(t, err, client.ErrNoRegion)
		n++
	}
	want(t, "the number of errors", n, 1)
}

func TestKeysAreInOrder(t *testing.T) {
	t.Parallel()
	d := document(t, json.RawMessage(`{"b":{"c":1,"a":[true,"x"]},"a.b":null,"e":{}}`))
	keys := slices.Collect(d.Keys())
	want(t, "the keys", strings.Join(keys, " "), "a.b b b.a b.a.0 b.a.1 b.c e")
	for key, text := range d.All() {
		raw, err := d.Raw(key)
		must(t, err)
		want(t, "the text of "+key, string(text), string(raw))
	}
	for range (client.Doc{}).All() {
		t.Error("the zero Doc has a key")
	}
}

func TestWatchPrefix(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Publish(tenants(3))
	c := r.Client()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	next, stop := iter.Pull(c.WatchPrefix(ctx, "tenants/"))
	defer stop()
	expect := func(kind client.ChangeKind, config string, n int) {
		t.Helper()
		change, ok := next()
		if !ok {
			t.Fatal("the loop has ended")
		}
		want(t, "the kind", change.Kind, kind)
		want(t, "the config", change.Config, config)
		want(t, "the document's name", change.Doc.Name(), config)
		want(t, "its content", change.Doc.IntOr("N", -1), n)
		want(t, "the generation", change.Generation, r.Generation())
	}
	for i := range 3 {
		expect(client.ConfigAdded, fmt.Sprintf("tenants/%03d", i), i)
	}
	r.Set("a", number{2}) // which has another prefix
	r.Set("tenants/001", number{11})
	expect(client.ConfigChanged, "tenants/001", 11)
	changed := tenants(5)
	delete(changed, "tenants/000")
	changed["tenants/001"], changed["tenants/002"] = number{11}, number{12}
	r.Publish(changed)
	expect(client.ConfigChanged, "tenants/002", 12)
	expect(client.ConfigAdded, "tenants/003", 3)
	expect(client.ConfigAdded, "tenants/004", 4)
	expect(client.ConfigRemoved, "tenants/000", -1)
	// Another region with the same content is no change.
	r.Grow()
	r.Replace()
	r.Set("tenants/004", number{44})
	expect(client.ConfigChanged, "tenants/004", 44)
}

func TestWatchPrefixUnderAFastWriter(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	all := tenants(50)
	const last = "tenants/~" // sorts last, and removals are yielded last
	all[last] = number{0}
	p := created(t, dir, 1, all)
	c := open(t, dir)
	held := map[string]int{}
	ended := async(func() bool {
		for change := range c.WatchPrefix(t.Context(), "tenants/") {
			if _, there := held[change.Config]; there != (change.Kind != client.ConfigAdded) {
				t.Errorf("%s is %s", change.Config, change.Kind)
			}
			held[change.Config] = change.Doc.IntOr("N", -1)
			if change.Kind == client.ConfigRemoved {
				delete(held, change.Config)
			}
			if _, there := held[last]; change.Config == last && !there {
				break
			}
		}
		return true
	})
	for i := range shmtest.Times(500, 200) {
		name := fmt.Sprintf("tenants/%03d", i%50)
		if i%7 == 0 {
			delete(all, name)
		} else {
			all[name] = number{uint64(i)}
		}
		must(t, p.publish(all))
	}
	delete(all, last)
	must(t, p.publish(all))
	inTime(t, "the loop ends", ended)
	delete(all, "a")
	delete(all, "tenants.md")
	want(t, "the number of configs", len(held), len(all))
	for name, value := range all {
		want(t, name, held[name], int(value.(number).N))
	}
}

func TestWatchPrefixWithoutARegion(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	c := open(t, dir, client.Lazy())
	next, stop := iter.Pull(c.WatchPrefix(t.Context(), ""))
	defer stop()
	first := async(func() client.PrefixChange { change, _ := next(); return change })
	created(t, dir, 1, configs{"a": number{1}})
	change := inTime(t, "the first change", first)
	want(t, "the config", change.Config, "a")
	must(t, c.Close())
	if _, ok := next(); ok {
		t.Error("the loop has not ended with the client")
	}
}

// roundCounter is a context that counts how often it is asked whether it has ended.
type roundCounter struct {
	context.Context
	rounds atomic.Int64
}

func (c *roundCounter) Err() error {
	c.rounds.Add(1)
	return c.Context.Err()
}

// The last good generation has left the ring and every later one is damaged: there
// is nothing to list, and no newer snapshot to try.
func TestWatchPrefixDoesNotSpinWhileTheRegionIsDamaged(t *testing.T) {
	t.Parallel()
	p := created(t, regionIn(t), 1, configs{"a": number{1}})
	c := open(t, p.dir())
	for range 2 * small.Slots {
		p.damaged(t, configs{"a": number{2}})
	}
	ctx := &roundCounter{Context: t.Context()}
	first := async(func() string {
		for change := range c.WatchPrefix(ctx, "") {
			return change.Config
		}
		return ""
	})
	for range 5 { // each read of the region is a chance for the loop to look again
		refreshes := c.Stats().Refreshes
		eventually(t, "the follower tries again", func() bool { return c.Stats().Refreshes > refreshes })
	}
	if rounds := ctx.rounds.Load(); rounds > int64(c.Stats().Refreshes) {
		t.Errorf("the loop looked %d times, and the region was read %d times", rounds, c.Stats().Refreshes)
	}
	p.next(t, configs{"b": number{1}})
	want(t, "the first change", inTime(t, "the region is whole again", first), "b")
}
