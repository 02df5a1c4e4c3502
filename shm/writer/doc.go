// Package writer is the region's one writer: what only the daemon needs. Package
// shm is what readers need, and has the region's layout and life.
//
// # What it promises
//
//   - One process writes a region. It holds an exclusive lock, and it refuses a
//     directory that another user could have written.
//   - A publication is all or nothing. An error leaves readers the generation
//     that they have, and the error says whether there is a way out: less data
//     (ErrTooLarge), more room (ErrNoSpace), or a new file (ErrLost).
//   - Killed between any two steps, a writer leaves a region that readers can
//     read and that the next writer can use or replace.
//   - The file takes memory for its images and its head. Other pages, which a
//     reader makes by touching holes, are given back.
//   - Every access to the mapping is guarded: memory that is gone is an error.
//
// A writer's life: Own, then Attach or Create, then Publish, with Beat every
// second and Check beside it, and Close. docs/DESIGN.md tells the life of one
// revision.
package writer
