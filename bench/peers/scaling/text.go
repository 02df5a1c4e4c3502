package scaling

// What the tables say besides their figures.

const explainReaders = `Each reader is a process with a client of a 1 MiB region of 500 configs, of which it
uses one. They read for 300 ms by the clock, all at once. A read is the processor time
of all these processes divided by all reads, and whatever else a process does is in
it: to wake, to be switched in and out, to find in the caches what others left there,
to say what it read. Of two processors, each of 200 readers has 3 ms in all. So the
figure rises with the readers, though a read does the same however many there are.
How large each part is was not measured.

The last columns are of readers that sleep in their followers: how long one publication
takes, which wakes them all, and the processor time of their processes until they
sleep again. Some microseconds of that are the refresh. The rest is the kernel's wakes,
Go's scheduler (its threads look for more work before they sleep) and the decoding,
all with cold caches.
`

const explainMemory = `Of the same readers, at rest after a collection. RSS counts the program's text in
each of them, which they share.
`

const explainImage = `One small config is used; the rest of the image is ballast. A reader of the small
config pays for finding out that it did not change, and not for the ballast; a
reader of the ballast copies and verifies it. To publish a small change the
daemon writes what differs from what the slot holds already, and memory bandwidth
accounts for all of that time.

Each row of this table and of the next two is one run: the median of up to 200 changes
in half a second. A figure that stands out from those above and below it is a moment
of the machine. The column "` + "`Get`" + ` by name", where each row does the same, shows how
much that can be.
`

const explainConfigs = `Each config is a KiB with 30 keys, and the reader uses one of them.
`

const explainKeys = `The reader uses one config with so many keys, all of which it copies when the config
changes. What a binding then takes to decode comes on top, and is encoding/json's.
`

const explainDaemon = `The real statesyncd on a directory of configs of a KiB each, with its usual rescan
every 5 s; one of the files is replaced by rename. CPU is of one processor, and
for a generation it is what was spent beyond the idle time. Changes that come
faster than the daemon publishes share a generation.
`

const explainPolls = `Git's own git-http-backend, a program started for each request, with a repository
of 100 configs; the mean of 20 times each.
`
