import Foundation

/// The same for many things at once, each of which mostly waits.
enum Parallel {
  /// Threads at one time.
  private static let most = 64

  /// - Returns: what `body` makes of each, in their order.
  static func map<In: Sendable, Out: Sendable>(_ items: [In], _ body: @escaping @Sendable (In) -> Out) -> [Out] {
    let results = Results<Out>()
    let seats = DispatchSemaphore(value: most)
    let group = DispatchGroup()
    for (index, item) in items.enumerated() {
      seats.wait()
      group.enter()
      // Threads of their own: those of a queue may be fewer than what does not answer.
      Thread.detachNewThread {
        results.set(index, body(item))
        seats.signal()
        group.leave()
      }
    }
    group.wait()
    return results.sorted
  }

  private final class Results<Out>: @unchecked Sendable {
    private let lock = NSLock()
    private var all: [Int: Out] = [:]
    var sorted: [Out] { lock.withLock { all.sorted { $0.key < $1.key }.map(\.value) } }
    func set(_ index: Int, _ value: Out) { lock.withLock { all[index] = value } }
  }
}
