package client_test

import (
	"errors"
	"testing"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/client/clienttest"
)

type weights struct {
	Elo  int
	Ping float64
}

func TestFollow(t *testing.T) {
	r := clienttest.New(t)
	r.Publish(map[string]any{"matchmaker": map[string]any{"elo": 1500, "ping": 0.5}})
	c := r.Client()
	b := client.Bind[weights](c, "matchmaker")
	if got := *b.Get(); got != (weights{1500, 0.5}) {
		t.Fatal(got)
	}
	before := c.Snapshot()
	r.Set("matchmaker", map[string]any{"elo": 1600, "ping": 0.25})
	if got := *b.Get(); got != (weights{1600, 0.25}) {
		t.Fatal(got, b.Err())
	}
	if got := *b.In(before); got != (weights{1500, 0.5}) {
		t.Fatal(got, b.Err())
	}
	r.Set("matchmaker", map[string]any{"elo": "x"})
	if got := *b.Get(); got != (weights{1600, 0.25}) {
		t.Fatal(got, b.Err())
	}
	if err := b.Err(); !errors.Is(err, client.ErrWrongType) {
		t.Fatal(err)
	}
	doc, err := c.Get("matchmaker")
	if err != nil {
		t.Fatal(err)
	}
	if s, err := doc.Str("elo"); s != "x" || err != nil {
		t.Fatal(s, err)
	}
	r.Delete("matchmaker")
	if _, err := c.Get("matchmaker"); !errors.Is(err, client.ErrNotFound) {
		t.Fatal(err)
	}
	if got := *b.Get(); got != (weights{1600, 0.25}) {
		t.Fatal(got, b.Err())
	}
	if err := b.Err(); !errors.Is(err, client.ErrNotFound) {
		t.Fatal(err)
	}
}

func BenchmarkGet(b *testing.B) {
	r := clienttest.New(b)
	r.Publish(map[string]any{"matchmaker": map[string]any{"elo": 1500, "ping": 0.5}})
	c := r.Client()
	w := client.Bind[weights](c, "matchmaker")
	s := c.Snapshot()
	b.Run("Get", func(b *testing.B) {
		for b.Loop() {
			_ = w.Get()
		}
	})
	b.Run("In", func(b *testing.B) {
		for b.Loop() {
			_ = w.In(s)
		}
	})
	b.Run("Snapshot", func(b *testing.B) {
		for b.Loop() {
			_ = c.Snapshot()
		}
	})
	b.Run("GetByName", func(b *testing.B) {
		for b.Loop() {
			_, _ = c.Get("matchmaker")
		}
	})
	doc, _ := s.Get("matchmaker")
	b.Run("Int", func(b *testing.B) {
		for b.Loop() {
			_, _ = doc.Int("elo")
		}
	})
}
