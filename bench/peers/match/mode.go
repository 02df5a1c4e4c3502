package match

import (
	"context"

	"github.com/statesync/statesync/bench/peers/process"
)

// The modes, by which a run can be narrowed.
const (
	modeConstant  = "constant"
	modeGRPC      = "grpc+redis"
	modeCache     = "redis-cache"
	modeReplica   = "redis-replica"
	modeFile      = "mmapped-file"
	modeStateSync = "statesync"
)

// modes in the order of the tables.
var modes = []string{modeConstant, modeGRPC, modeCache, modeReplica, modeFile, modeStateSync}

// titles are the modes' names in the tables.
var titles = map[string]string{
	modeConstant:  "a constant in the program (the floor)",
	modeGRPC:      "gRPC + Redis, synchronous",
	modeCache:     "Redis, cached for 30 s, flushed on change",
	modeReplica:   "a Redis replica on the host",
	modeFile:      "the origin's mapped file",
	modeStateSync: "this project",
}

// published are the figures that came with the origin, from another world: 400,000
// concurrent requests, many pods.
type published struct{ p99, cpu, invalidation, radius string }

// article is what was published of three ways, and, before them, of a cache of
// 30 s in front of the first that each change flushed.
var article = map[string]published{
	modeGRPC:    {"700 ms", "100 %", "400 ms (Lua flush)", "the cluster: a stampede"},
	modeCache:   {"280 ms, 700 ms in a change", "", "47 ms, and 30,000 retries", ""},
	modeReplica: {"450 ms", "+15 %", "120 ms (replication lag)", "stale data on the node"},
	modeFile:    {"215 ms", "−37 %", "5 ms (a Git commit)", "one reconciliation wave"},
}

// mode is a running service with all that it needs to get its settings.
type mode struct {
	*service
	way     way
	version int   // of the settings, the newest one
	pids    []int // of what else this mode needs

	// change makes another version the one to be served; nil where nothing can
	// change. prepare is what a change needs to be ready, before it is timed.
	prepare func(ctx context.Context) error
	change  func(ctx context.Context, version int) error
	ages    bool // what the service holds is good for the TTL only

	backends []backend // what may stop
}

// backend is something that settings come from.
type backend struct {
	name string
	*process.Process
}
