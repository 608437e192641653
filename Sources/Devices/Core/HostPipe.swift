import Foundation

/// The one shape in which a device talks to the host: two bounded queues, one each way. Bytes for a serial port, frames for a
/// network card.
///
///     host thread                          machine lock held
///     offer  -->  toDevice  --onItems-->   take        (the device)
///                 <--onRoom--
///     take   <--  toHost    <--            put or send (the device)
///                 --onItems-->             <--onRoom--
///
/// Who puts never waits. An item that finds no room is either kept by who has it, who then stops (reading its socket,
/// filling its ring) until `onRoom`: back-pressure; or it is dropped, and counted: as a switch does with frames. Which of the
/// two is the choice of who puts: `offer` or `send`.
///
/// What it is made for:
/// - **A socket** (a console, a stream of frames to another machine, to a NAT process or to a relay): `offer` what was read,
///   and read on only while all of it was accepted. The peer is then held up by its own connection, and memory here is
///   bounded.
/// - **A tap**: the kernel drops what is not read in time, so it is read only while `toDevice` has room; `toHost` is written by
///   `take` until the tap takes no more.
/// - **A disk** needs none: a controller has one command under way for each channel and asks for the next only then. Its bound
///   is in the hardware (`DiskWorker`).
/// - **A display** needs none: pictures are fetched, not sent (`VGA.renderFrame`).
public final class HostPipe<Item: Sendable>: Sendable {
  /// What the host has for the device.
  public let toDevice: HostQueue<Item>
  /// What the device has for the host.
  public let toHost: HostQueue<Item>

  /// - Parameters: capacity: items each way. limit, size: see `HostQueue`.
  public init(capacity: Int, limit: Int = .max, size: (@Sendable (Item) -> Int)? = nil) {
    toDevice = HostQueue(capacity: capacity, limit: limit, size: size)
    toHost = HostQueue(capacity: capacity, limit: limit, size: size)
  }
}

/// A bounded queue between two threads, with counters. One side puts, the other takes.
public final class HostQueue<Item: Sendable>: @unchecked Sendable {
  /// What has gone through since the machine started.
  public struct Counters: Equatable, Sendable {
    /// Items that were taken out.
    public var taken: UInt64 = 0
    /// Items that `send` found no room for.
    public var dropped: UInt64 = 0
    /// How often `offer` could not take all.
    public var refusals: UInt64 = 0
  }

  /// The most elements that it holds.
  public let capacity: Int
  private let limit: Int
  private let size: (@Sendable (Item) -> Int)?
  private let lock = NSLock()
  private var items: [Item] = []
  /// Of what is in it, where sizes count.
  private var bytes = 0
  /// Taken already from `items`.
  private var start = 0
  private var counts = Counters()
  private var someoneWaits = false
  private var isClosed = false
  /// How many items have been taken since it was made: the place of the next one.
  private var taken: UInt64 = 0
  /// While items are held: the place behind the last one that may be taken.
  private var released: UInt64?
  private var whenHeld: @Sendable () -> Void = {}
  /// Something was put since the last mark.
  private var hasHeld = false
  /// Held by who is in `whileOpen`. Taken before `lock`.
  private let gate = NSLock()
  private var whenItems: @Sendable () -> Void = {}
  private var whenRoom: @Sendable () -> Void = {}

  /// - Parameters:
  ///   - capacity: elements, at least one.
  ///   - limit: bytes from which on nothing more is accepted, however few the elements.
  ///   - size: of an element in bytes; nil: sizes do not count.
  public init(capacity: Int, limit: Int = .max, size: (@Sendable (Item) -> Int)? = nil) {
    precondition(capacity > 0)
    self.capacity = capacity
    self.limit = limit
    self.size = size
  }

  /// Called after something was put into an empty queue, on the thread that put it and with none of the queue's locks held.
  public func onItems(_ body: @escaping @Sendable () -> Void) { lock.withLock { whenItems = body } }

  /// Called once after `offer` could not take all, as soon as half of the queue is free, on the thread that took. It must
  /// not block: a device takes with the machine lock held.
  public func onRoom(_ body: @escaping @Sendable () -> Void) { lock.withLock { whenRoom = body } }

  /// What has gone through so far.
  public var counters: Counters { lock.withLock { counts } }
  /// Items that wait in it.
  public var count: Int { lock.withLock { items.count - start } }

  /// What waits in it, for a saved state.
  public var waiting: [Item] { lock.withLock { Array(items[start...]) } }

  // MARK: Open and closed

  /// From here on nothing can be taken until `open`; what is put waits. When this returns nobody is in `whileOpen` any more.
  /// Not to be called while holding what `onItems` or `onRoom` wait for.
  public func close() { gate.withLock { lock.withLock { isClosed = true } } }

  /// What waits can be taken again. Who takes is told, whether something waits or not.
  public func open() {
    let wakes = lock.withLock {
      isClosed = false
      return whenItems
    }
    wakes()
  }

  /// Runs `body`, which may take, so that `close` waits for its end.
  /// - Returns: nil, without running it, while the queue is closed.
  public func whileOpen<Result>(_ body: () -> Result) -> Result? {
    gate.withLock { lock.withLock { isClosed } ? nil : body() }
  }

  // MARK: Held and released

  /// What is put from now on waits, and what waits already does not: `release` says how far it may be taken.
  /// - Parameter onHeld: called when something is put for the first time since this or the last `mark`, on the thread that
  ///   puts, which must not wait for it.
  public func hold(_ onHeld: @escaping @Sendable () -> Void) {
    lock.withLock {
      released = taken + UInt64(items.count - start)
      (whenHeld, hasHeld) = (onHeld, false)
    }
  }

  /// The place behind all that has been put.
  public func mark() -> UInt64 {
    lock.withLock {
      hasHeld = false
      return taken + UInt64(items.count - start)
    }
  }

  /// What was put before `mark` may be taken.
  public func release(through mark: UInt64) { change { $0 = $0.map { max($0, mark) } } }

  /// Everything may be taken, from now on as well.
  public func releaseAll() { change { $0 = nil } }

  private func change(_ body: (inout UInt64?) -> Void) {
    let wakes = lock.withLock { () -> (@Sendable () -> Void)? in
      let before = available
      body(&released)
      return before == 0 && available > 0 ? whenItems : nil
    }
    wakes?()
  }

  /// Items that may be taken. With the lock held.
  private var available: Int {
    let waiting = items.count - start
    guard let released else { return waiting }
    return released > taken ? min(waiting, Int(clamping: released - taken)) : 0
  }

  /// Who is told of items that were just put, with the lock held.
  private func whoIsTold(_ before: Int) -> (@Sendable () -> Void)? {
    if before == 0 && available > 0 { return whenItems }
    guard released != nil, !hasHeld else { return nil }
    hasHeld = true
    return whenHeld
  }

  // MARK: Putting

  /// Whether `count` items would find room. After a no `onRoom` is called once, as after `offer`.
  public func hasRoom(for count: Int) -> Bool {
    lock.withLock {
      let isThere = items.count - start + count <= capacity && bytes < limit
      if !isThere { someoneWaits = true }
      return isThere
    }
  }

  /// Takes as many as there is room for; `onRoom` tells when there is room for more.
  /// - Returns: how many were taken. The others stay with the caller.
  public func offer(_ new: some Collection<Item>) -> Int {
    let (accepted, wakes) = lock.withLock { () -> (Int, (@Sendable () -> Void)?) in
      let before = available
      let accepted = room(for: new)
      items.append(contentsOf: new.prefix(accepted))
      if accepted < new.count {
        counts.refusals += 1
        someoneWaits = true
      }
      return (accepted, accepted > 0 ? whoIsTold(before) : nil)
    }
    wakes?()
    return accepted
  }

  /// How many of the items find room, which counts them as there. With the lock held.
  private func room(for new: some Collection<Item>) -> Int {
    let most = max(0, capacity - (items.count - start))
    guard let size else { return min(new.count, most) }
    var count = 0
    for item in new.prefix(most) where bytes < limit {
      bytes += size(item)
      count += 1
    }
    return count
  }

  /// Takes one item, or drops and counts it when there is no room.
  /// - Returns: whether it was taken.
  @discardableResult
  public func send(_ item: Item) -> Bool {
    let (isTaken, wakes) = lock.withLock { () -> (Bool, (@Sendable () -> Void)?) in
      let used = items.count - start
      guard used < capacity, bytes < limit else {
        counts.dropped += 1
        return (false, nil)
      }
      let before = available
      if let size { bytes += size(item) }
      items.append(item)
      return (true, whoIsTold(before))
    }
    wakes?()
    return isTaken
  }

  // MARK: Taking

  /// Takes up to `most` items, the oldest first.
  public func take(_ most: Int = .max) -> [Item] {
    let (taken, wakes) = lock.withLock { () -> ([Item], (@Sendable () -> Void)?) in
      guard !isClosed else { return ([], nil) }
      let end = start + min(most, available)
      let taken = Array(items[start..<end])
      start = end
      self.taken += UInt64(taken.count)
      if let size { for item in taken { bytes -= size(item) } }
      counts.taken += UInt64(taken.count)
      // What was taken leaves the array now and then, so that taking costs the same however much waits.
      if start == items.count {
        items.removeAll(keepingCapacity: true)
        start = 0
      } else if start >= capacity {
        items.removeFirst(start)
        start = 0
      }
      guard someoneWaits, items.count - start <= capacity / 2, bytes <= limit / 2 else { return (taken, nil) }
      someoneWaits = false
      return (taken, whenRoom)
    }
    wakes?()
    return taken
  }

  /// For who is told of items by `onItems`: takes a single one that waits there, if `body` wants it, as in `whileOpen` and
  /// without waiting for anybody: where somebody takes already, or waits for room, nothing is taken.
  /// - Parameters: wants: whether to take it. body: gets it.
  /// - Returns: whether it was taken.
  public func takeAtOnce(_ wants: (Item) -> Bool, _ body: (Item) -> Void) -> Bool {
    guard gate.try() else { return false }
    defer { gate.unlock() }
    let item = lock.withLock { () -> Item? in
      guard !isClosed, !someoneWaits, items.count - start == 1, available == 1, let item = items.last, wants(item)
      else { return nil }
      counts.taken += 1
      taken += 1
      if let size { bytes -= size(item) }
      items.removeAll(keepingCapacity: true)
      start = 0
      return item
    }
    guard let item else { return false }
    body(item)
    return true
  }

  /// Puts back what a saved state has kept; more than fits is kept too, and nothing is accepted until it has been taken.
  public func restore(_ saved: [Item]) {
    lock.withLock {
      items = saved
      start = 0
      if let size { bytes = saved.reduce(0) { $0 + size($1) } }
    }
  }
}
