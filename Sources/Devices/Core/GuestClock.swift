import Dispatch

/// Guest time: nanoseconds since power-on, from which the TSC, the APIC timer, PIT, RTC, HPET and the PM timer derive.
///
/// It stops while the machine is paused and crosses a teleport, so that a guest sees a short stall and never a jump
/// back. All methods but `now` are called with the machine lock held.
public final class GuestClock: @unchecked Sendable {
  private let hostNow: @Sendable () -> UInt64
  private var base: UInt64  // guest time at `started`
  private var started: UInt64?  // host time when it began to run; nil: stopped
  private var timers: [ObjectIdentifier: ClockTimer] = [:]

  /// Called when the earliest deadline may have changed, with the machine lock held.
  public var onDeadlineChanged: () -> Void = {}

  /// - Parameter hostNow: a monotonic host clock in nanoseconds; a test passes its own.
  public init(hostNow: @escaping @Sendable () -> UInt64 = { DispatchTime.now().uptimeNanoseconds }) {
    self.hostNow = hostNow
    base = 0
  }

  /// Guest nanoseconds since power-on. Never goes back.
  public var now: UInt64 {
    guard let started else { return base }
    return base &+ (hostNow() &- started)
  }

  /// False while the machine is paused.
  public var isRunning: Bool { started != nil }

  public func start() {
    guard started == nil else { return }
    started = hostNow()
    onDeadlineChanged()
  }

  /// Guest time stands still from now on. A second call changes nothing.
  public func stop() {
    base = now
    started = nil
  }

  /// Guest time stands still while `body` runs, as for a stopped clock, and has passed when it is over: the machine was
  /// looked at, and nobody in it is to notice.
  public func whileStill<Result>(_ body: () throws -> Result) rethrows -> Result {
    guard started != nil else { return try body() }
    let moment = hostNow()
    base = base &+ (moment &- (started ?? moment))
    started = nil
    defer {
      started = moment
      onDeadlineChanged()
    }
    return try body()
  }

  /// Sets guest time after a load; the clock must be stopped.
  public func set(_ now: UInt64) {
    precondition(started == nil, "guest time is set while stopped")
    base = now
  }

  /// A timer of this clock, not yet set. The action runs under the machine lock.
  public func makeTimer(_ action: @escaping () -> Void) -> ClockTimer { ClockTimer(self, action) }

  /// The earliest deadline in guest nanoseconds, or nil.
  public var nextDeadline: UInt64? { timers.values.lazy.compactMap(\.deadline).min() }

  /// Fires every timer that is due, earliest first. A timer may arm itself again from its action.
  public func runDueTimers() {
    let limit = now
    while let due = timers.values.filter({ ($0.deadline ?? .max) <= limit }).min(by: { $0.deadline! < $1.deadline! }) {
      due.fire()
    }
  }

  fileprivate func changed(_ timer: ClockTimer) {
    if timer.deadline == nil { timers[ObjectIdentifier(timer)] = nil } else { timers[ObjectIdentifier(timer)] = timer }
    onDeadlineChanged()
  }
}

/// A one-shot alarm in guest time.
public final class ClockTimer {
  private unowned let clock: GuestClock
  private let action: () -> Void
  /// Guest nanoseconds when it fires, or nil when it is not armed.
  public private(set) var deadline: UInt64?

  fileprivate init(_ clock: GuestClock, _ action: @escaping () -> Void) {
    self.clock = clock
    self.action = action
  }

  /// Arms it, or moves it. A deadline in the past fires at once (from the timer thread, never from here).
  public func arm(at deadline: UInt64) {
    guard deadline != self.deadline else { return }
    self.deadline = deadline
    clock.changed(self)
  }

  /// The timer will not fire until it is set again.
  public func cancel() {
    guard deadline != nil else { return }
    deadline = nil
    clock.changed(self)
  }

  fileprivate func fire() {
    deadline = nil
    clock.changed(self)
    action()
  }
}
