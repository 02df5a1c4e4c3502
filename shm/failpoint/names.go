package failpoint

// Names are all points, in the order in which a daemon reaches them. A point before
// a step is named for what begins, one after it for what is done.
var Names = []string{
	// The region's directory and its lock.
	"own.made", "own.directory",
	"lock.opened", "lock.taken", "lock.signed",
	"own.accessible", "region.owned",

	// The state directory.
	"state.made", "state.locked", "state.read",

	// Continuing the region file at the path.
	"region.surveyed",
	"attach.begin", "unseal.begin", "unseal.done",
	"attach.opened", "attach.mapped", "attach.usable", "attach.accessible", "attach.adopted",
	"seal.begin", "seal.done",
	"attach.told", "region.attached",

	// A new directory in the place of one that was taken away.
	"region.moving", "region.moved",

	// Reading the files of the sources: once for each that is decoded.
	"plan.file",

	// A new region file. Reserving and storing are parts of publishing, too.
	"region.rebuilt", "region.reallowed",
	"create.begin", "create.unsealed",
	"create.cleared", "create.made", "create.accessible", "create.sized",
	"reserve.begin", "reserve.done",
	"create.head-reserved", "create.mapped", "create.identified", "create.begun",
	"store.part", "store.words", "store.length", "store.complete",
	"create.committed", "create.filled",
	"retire.begin", "retire.marked", "retire.woken",
	"create.retired", "create.renamed", "create.released", "create.adopted",

	// The next generation in the same file.
	"region.built", "region.allowed",
	"publish.begin", "grow.begin", "publish.roomy", "publish.begun",
	"punch.begin", "punch.sealed", "publish.punched",
	"publish.committed", "publish.woken",
	"region.published",

	// The reserved generations, in a file that is replaced.
	"reservation.begin", "reservation.written", "reservation.done",
	"replace.opened", "replace.synced", "replace.renamed",

	// What the daemon does with the history.
	"memory.opened", "memory.record", "memory.recorded",

	// The history: making its file, each transaction, and replacing the file.
	"history.created", "history.set-aside",
	"history.record-begin", "history.record-done",
	"history.act-begin", "history.act-done",
	"history.outcome-begin", "history.outcome-done",
	"history.floor-begin", "history.floor-done",
	"history.purge-begin", "history.purge-done",
	"history.rewrite-begin", "history.rewrite-copied", "history.rewrite-renamed", "history.rewrite-done",

	// The end in good order.
	"close.begin", "close.told",
}
