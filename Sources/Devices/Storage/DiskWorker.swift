import Dispatch
import Foundation

/// Runs a drive's host I/O apart from the virtual CPUs, so that a slow disk does not stall them.
///
/// All methods are called with the machine lock held.
public protocol DiskWorker: AnyObject {
  /// Runs `work` without the machine lock, then `completion` with it; in the order of submission.
  func submit(_ work: @escaping @Sendable () -> Void, completion: @escaping () -> Void)
  /// Waits until all submitted work is done and has been completed, by the caller's hand.
  func drain()
}

/// Does everything at once: for tests and tools without threads.
public final class InlineDiskWorker: DiskWorker {
  public init() {}

  public func submit(_ work: @escaping @Sendable () -> Void, completion: @escaping () -> Void) {
    work()
    completion()
  }

  public func drain() {}
}

/// A thread of its own, whose completions take the machine lock.
public final class ThreadDiskWorker: DiskWorker, @unchecked Sendable {
  private let queue: DispatchQueue
  private let withMachineLock: @Sendable (_ body: () -> Void) -> Void
  /// Completions of submitted work in order; touched with the machine lock held only.
  private var waiting: [(job: Int, completion: () -> Void)] = []
  private var lastJob = 0

  /// - Parameter withMachineLock: runs its argument with the machine lock held.
  public init(name: String, withMachineLock: @escaping @Sendable (_ body: () -> Void) -> Void) {
    queue = DispatchQueue(label: name, qos: .userInitiated)
    self.withMachineLock = withMachineLock
  }

  public func submit(_ work: @escaping @Sendable () -> Void, completion: @escaping () -> Void) {
    lastJob += 1
    let job = lastJob
    waiting.append((job, completion))
    let withMachineLock = self.withMachineLock
    // The completion runs elsewhere than the queue, so that `drain` may wait for the queue with the lock held.
    queue.async { [self] in
      work()
      DispatchQueue.global(qos: .userInitiated).async { [self] in withMachineLock { finish(upTo: job) } }
    }
  }

  /// Completes every job up to `job`; a drain may have done so before.
  private func finish(upTo job: Int) {
    while let first = waiting.first, first.job <= job {
      waiting.removeFirst()
      first.completion()
    }
  }

  public func drain() {
    while !waiting.isEmpty {
      let job = lastJob
      queue.sync {}
      finish(upTo: job)
    }
  }
}
