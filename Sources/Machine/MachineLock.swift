import CHost
import Glibc

/// The machine lock: held while a device is touched. Plain and fair enough; never held while waiting for a CPU.
public final class MachineLock: @unchecked Sendable {
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>

  /// A lock that nobody holds.
  public init() {
    mutex = .allocate(capacity: 1)
    pthread_mutex_init(mutex, nil)
  }

  deinit {
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
  }

  /// Waits until the lock is free, and takes it.
  @inline(__always) public func lock() { pthread_mutex_lock(mutex) }
  /// For who holds it.
  @inline(__always) public func unlock() { pthread_mutex_unlock(mutex) }

  /// Holds the lock while `body` runs, and throws what that throws.
  @inline(__always)
  public func withLock<T, E>(_ body: () throws(E) -> T) throws(E) -> T {
    lock()
    defer { unlock() }
    return try body()
  }
}

/// A mutex with a condition whose time-outs run on the monotonic clock.
final class Monitor: @unchecked Sendable {
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>

  init() {
    mutex = .allocate(capacity: 1)
    pthread_mutex_init(mutex, nil)
    condition = .allocate(capacity: 1)
    var attributes = pthread_condattr_t()
    pthread_condattr_init(&attributes)
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    pthread_cond_init(condition, &attributes)
    pthread_condattr_destroy(&attributes)
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  func lock() { pthread_mutex_lock(mutex) }
  func unlock() { pthread_mutex_unlock(mutex) }
  func broadcast() { pthread_cond_broadcast(condition) }
  /// Gives the lock up while waiting, holds it again afterwards. May wake for no reason.
  func wait() { pthread_cond_wait(condition, mutex) }

  /// As `wait`, at most for `nanoseconds`.
  func wait(nanoseconds: UInt64) {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    let total = UInt64(now.tv_nsec) + nanoseconds % 1_000_000_000
    var deadline = timespec()
    deadline.tv_sec = now.tv_sec + Int(nanoseconds / 1_000_000_000) + Int(total / 1_000_000_000)
    deadline.tv_nsec = Int(total % 1_000_000_000)
    pthread_cond_timedwait(condition, mutex, &deadline)
  }

  func withLock<T>(_ body: () -> T) -> T {
    lock()
    defer { unlock() }
    return body()
  }
}

/// A thread with a name, that runs a closure and can be joined.
final class HostThread: @unchecked Sendable {
  private var handle = pthread_t()
  private var isJoined = false

  /// - Parameter name: at most 15 bytes, as the kernel shows it.
  init(name: String, _ body: @escaping @Sendable () -> Void) {
    let box = Unmanaged.passRetained(Box(name: name, body: body))
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    pthread_attr_setstacksize(&attributes, 1 << 20)
    let status = pthread_create(
      &handle, &attributes,
      { argument in
        let box = Unmanaged<Box>.fromOpaque(argument!).takeRetainedValue()
        vm_name_thread(box.name)
        box.body()
        return nil
      }, box.toOpaque())
    pthread_attr_destroy(&attributes)
    precondition(status == 0, "the host has no room for another thread")
  }

  /// Waits for its end. Called once, and not from the thread itself.
  func join() {
    guard !isJoined else { return }
    isJoined = true
    pthread_join(handle, nil)
  }

  private final class Box {
    let name: String
    let body: @Sendable () -> Void
    init(name: String, body: @escaping @Sendable () -> Void) {
      self.name = name
      self.body = body
    }
  }
}
