// SPDX-License-Identifier: Apache-2.0
//! Every number of pacing, with its unit and its reason. docs/limits.md has a row for each.

use std::time::Duration;

// Contests. Corrections of one object are counted in tokens, of which each object has a bucket.

/// Tokens of a full bucket: narrow corrections in a row before an object is contested. A burst is no
/// contest.
pub const BURST: f64 = 200.0;

/// Tokens that flow in each second: narrow corrections a second that are never a contest.
pub const REFILL: f64 = 10.0;

/// Tokens that a correction by a full pass costs: ten in a row are a contest, or one in two seconds
/// for long.
pub const PASS_TOKENS: f64 = 20.0;

/// First pause of a contested object. It doubles with each look that finds the object wrong.
pub const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause of a contested object: the end of a rival is noticed by then.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// First pause of a contested tree, as a multiple of what the last pass took: to look at it takes a
/// third of a hundredth of the time.
pub const TREE_PAUSE: u32 = 300;

/// Longest first pause of a contested tree: a long restore by root is taken for a contest, and is
/// over by then.
pub const LONGEST_FIRST_PAUSE: Duration = Duration::from_secs(10);

/// Seconds for which a tree may need full passes without a pause before it is contested: a restore
/// by root is no contest.
pub const TREE_MINUTE: f64 = 60.0;

/// Passes on a tree follow each other without a pause when no more than this and
/// [`TREE_GAP_PASSES`] times what the last one took lies between them: as closely as the pauses
/// between full passes allow.
pub const TREE_GAP: Duration = Duration::from_millis(600);

/// See [`TREE_GAP`]. A multiple of what a pass took.
pub const TREE_GAP_PASSES: u32 = 11;

/// Files that have a bucket at a time. They are another user's, and he can make any number of them;
/// further ones are left to full passes.
pub const OBJECTS: usize = 256;

// Full passes.

/// Time from one full pass to the next although no event came.
pub const REGULAR_PASS: Duration = Duration::from_secs(300);

/// The same while something is wrong or events may be missed: what cannot be seen coming may have
/// been mended.
pub const REGULAR_PASS_WHILE_WRONG: Duration = Duration::from_secs(30);

/// Passes that are asked for by events may take one part in so many of a processor: after one that
/// kept it busy for `t` the next one waits nine times `t`.
pub const PASSES_SHARE: u32 = 10;

/// The same while something is contested that takes full passes to look at: a quarter of a
/// hundredth, as long as such a pass takes less than 100 ms. What the events cost comes on top.
pub const CONTESTED_PASSES_SHARE: u32 = 400;

/// Longest pause between passes asked for by events of the host: drift must not live longer.
pub const LONGEST_HOST_PAUSE: Duration = Duration::from_secs(5);

/// The same for events of the tree: how long a look at it takes is up to who fills it.
pub const LONGEST_TREE_PAUSE: Duration = Duration::from_secs(20);

/// The same while something is contested that takes full passes to look at.
pub const LONGEST_CONTESTED_PAUSE: Duration = Duration::from_secs(40);

/// Where events ask for one pass after the other, the pause between them doubles from this …
pub const FIRST_PASS_PAUSE: Duration = Duration::from_millis(4);

/// … to this.
pub const LONGEST_PASS_PAUSE: Duration = Duration::from_millis(500);

/// Between full passes that only tell about what is not written: the report may be late, nothing
/// is mended.
pub const TELLING_PAUSE: Duration = Duration::from_secs(1);

/// Between full passes that only hope for a mend: where the file system undoes our own change, that
/// change makes the next event.
pub const MENDING_PAUSE: Duration = Duration::from_millis(500);

/// Passes that are made in a row because more is to be watched than before.
pub const PASSES_IN_A_ROW: usize = 3;

/// Time after which a pass is not repeated at once: who waits for a lock that somebody holds does
/// not wait for it twice.
pub const LONGEST_PASS: Duration = Duration::from_secs(5);

// Events. Each source of them (the host, the tree) is paced apart.

/// Time that one turn may take for single entries; the rest is left to a full pass, which is paced.
pub const LONGEST_TURN: Duration = Duration::from_millis(50);

/// Processor time that the turns of a source may take at once: events that change nothing, or a
/// little of many things, are no contest.
pub const BUDGET: Duration = Duration::from_millis(500);

/// The turns of a source may take one part in so many of a processor for long.
pub const SHARE: u32 = 10;

/// Events that change nothing (those of a contested object, and those that ask once more for a full
/// pass that was put off) may take one part in so many of the time, since each costs a wakeup.
pub const QUIET_SHARE: u32 = 100;

/// Shortest time in which no events of a source are taken; less costs more than it saves.
pub const SHORTEST_QUIET: Duration = Duration::from_millis(2);

/// Longest time in which no events of a source are taken: drift must not live longer.
pub const LONGEST_QUIET: Duration = Duration::from_secs(1);

/// Shortest time in which no events are taken after those of a contested object.
pub const QUIET_WHILE_CONTESTED: Duration = Duration::from_millis(40);

/// The same while something is contested and a pass is due, which these events only ask for once
/// more.
pub const QUIET_WHILE_DUE: Duration = Duration::from_millis(200);

/// The same while all of the tree is contested: its events tell nothing then. Who contests it fills
/// their queue in a second, and to read that takes 10 ms.
pub const QUIET_WHILE_SUSPENDED: Duration = Duration::from_millis(250);

/// Longest such time: a restore by root must be seen to end.
pub const LONGEST_QUIET_WHILE_SUSPENDED: Duration = Duration::from_secs(5);

/// Events of a tree that is contested as a whole may take one part in so many of the time.
pub const QUIET_SHARE_WHILE_SUSPENDED: u32 = 200;

// Lines of the journal about corrections.

/// Lines about one subject in a [`PERIOD`]; the rest is counted.
pub const LINES: u64 = 60;

/// Time for which lines are counted.
pub const PERIOD: Duration = Duration::from_secs(60);

/// Files whose lines are counted apart. They are another user's, and he can make any number of them.
pub const FILES: usize = 256;

/// Lines about all files together in a [`PERIOD`]: who makes files wrong must hide nothing else.
pub const LINES_OF_FILES: u64 = 240;

/// Subjects that are named with their counts when a period is over; the rest is counted together.
pub const MOST: usize = 8;

/// Corrections of one turn that get a line each; the rest is one line.
pub const LINES_OF_A_TURN: usize = 8;
