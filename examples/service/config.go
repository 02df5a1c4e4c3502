package main

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Matchmaker is the config "matchmaker".
type Matchmaker struct {
	Weights struct {
		Elo   int     `json:"elo"`
		Ping  float64 `json:"ping"`
		Party float64 `json:"party"`
	} `json:"weights"`
	MaxWait time.Duration `json:"max_wait"` // "30s"
	Pools   []Pool        `json:"pools"`
}

// Pool is a kind of match, for so many players.
type Pool struct {
	Name string `json:"name"`
	Size int    `json:"size"`
}

// defaultMatchmaker is where a config that leaves out keys gets them from.
func defaultMatchmaker() (m Matchmaker) {
	m.Weights.Elo, m.Weights.Ping = 1500, 0.35
	m.MaxWait = 30 * time.Second
	return m
}

// validate rejects what the service could not work with. The config's JSON Schema
// should have the same rules, so that the daemon refuses a wrong config before any
// service sees it.
func (m *Matchmaker) validate() error {
	if m.MaxWait <= 0 {
		return fmt.Errorf("max_wait is %s, and must be positive", m.MaxWait)
	}
	if len(m.Pools) == 0 {
		return errors.New("there are no pools")
	}
	for _, p := range m.Pools {
		if p.Size < 2 {
			return fmt.Errorf("pool %s: its size is %d, and must be at least 2", p.Name, p.Size)
		}
	}
	return nil
}

// score is how far a player is from the middle of the field; less is better.
func (m *Matchmaker) score(t Ticket) float64 {
	distance := math.Abs(float64(t.Elo - m.Weights.Elo))
	return distance * (1 + m.Weights.Ping*t.Ping/100 + m.Weights.Party*float64(t.Party))
}

// Limits is the config "limits".
type Limits struct {
	Concurrent int           `json:"concurrent"`  // requests at once
	RetryAfter time.Duration `json:"retry_after"` // what others are told
}

var defaultLimits = Limits{Concurrent: 64, RetryAfter: time.Second}

func (l *Limits) validate() error {
	if l.Concurrent < 1 {
		return fmt.Errorf("concurrent is %d, and must be at least 1", l.Concurrent)
	}
	return nil
}
