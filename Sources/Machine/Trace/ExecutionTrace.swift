import Glibc
import SavedState
import X86

/// Writes down what CPUs do: a line an event, each with the instructions that its CPU had run, the CPU's number, what it is
/// (i, x, q, in, out, mr, mw), and the address of the instruction or what was accessed; numbers but the first two are
/// hexadecimal. Events come from the CPUs' threads.
final class ExecutionTrace: @unchecked Sendable {
  let request: TraceRequest
  private let lock = MachineLock()
  private let descriptor: Int32
  private let compressor: ZstdCompressor?
  private let onEnd: @Sendable (TraceEnd) -> Void
  /// Guarded by `lock`, as is what follows.
  private var text: [UInt8] = []
  private var lines = 0
  private var failure: Int32?
  private var isOver = false
  private var isClosed = false
  private static let piece = 256 << 10

  /// - Parameters:
  ///   - descriptor: a file, then its own.
  ///   - compresses: as zstd (RFC 8878), a frame after the other.
  ///   - onEnd: is told once that no more will be written, and why; from the thread of a CPU, or of who ends it.
  init(
    _ request: TraceRequest, to descriptor: Int32, compresses: Bool, onEnd: @escaping @Sendable (TraceEnd) -> Void
  ) {
    self.request = request
    self.descriptor = descriptor
    self.onEnd = onEnd
    compressor = compresses ? ZstdCompressor() : nil
    text.reserveCapacity(Self.piece + 1024)
  }

  deinit { finish() }

  /// Nothing more will be written.
  var isEnded: Bool { lock.withLock { isClosed } }

  // MARK: Events

  func execute(_ cpu: CPU) {
    guard isWanted(cpu) else { return }
    let next = cpu.nextInstruction
    let bytes = next.bytes.map { Self.hexadecimal(UInt64($0), digits: 2) }.joined()
    line(cpu, "i", next.address, "\(bytes.isEmpty ? "-" : bytes) \(next.text)")
  }

  func deliver(_ cpu: CPU, _ vector: UInt8, _ errorCode: UInt32?, isExternal: Bool) {
    guard request.kinds.contains(isExternal ? .interrupts : .exceptions), isWanted(cpu) else { return }
    var rest = "vector \(Self.hexadecimal(UInt64(vector)))"
    if let errorCode { rest += " error \(Self.hexadecimal(UInt64(errorCode)))" }
    if vector == 14 && !isExternal { rest += " address \(Self.hexadecimal(cpu.s.pointee.cr2))" }
    line(cpu, isExternal ? "q" : "x", cpu.nextAddress, rest)
  }

  func port(_ cpu: CPU, _ port: UInt16, size: Int, value: UInt32, isWrite: Bool) {
    guard request.kinds.contains(.ports), isWanted(cpu) else { return }
    line(cpu, isWrite ? "out" : "in", UInt64(port), "\(size) \(Self.hexadecimal(UInt64(value)))")
  }

  func memory(_ cpu: CPU, _ address: UInt64, size: Int, value: UInt64, isWrite: Bool) {
    guard request.kinds.contains(.mmio), isWanted(cpu) else { return }
    line(cpu, isWrite ? "mw" : "mr", address, "\(size) \(Self.hexadecimal(value))")
  }

  private func isWanted(_ cpu: CPU) -> Bool { request.addresses?.contains(cpu.nextAddress) ?? true }

  private static func hexadecimal(_ value: UInt64, digits: Int = 1) -> String {
    let text = String(value, radix: 16)
    return text.count < digits ? String(repeating: "0", count: digits - text.count) + text : text
  }

  // MARK: The file

  private func line(_ cpu: CPU, _ kind: String, _ place: UInt64, _ rest: String) {
    let line = "\(cpu.s.pointee.instructions) \(cpu.index) \(kind) \(Self.hexadecimal(place)) \(rest)\n"
    let ends = lock.withLock { () -> Bool in
      guard !isOver else { return false }
      text += line.utf8
      lines += 1
      if text.count >= Self.piece { flush() }
      isOver = failure != nil || request.limit.map { lines >= $0 } ?? false
      return isOver
    }
    if ends { finish() }
  }

  /// Lock held.
  private func flush() {
    guard !text.isEmpty, failure == nil else { return text.removeAll(keepingCapacity: true) }
    let bytes = text.withUnsafeBytes { raw in
      guard let compressor else { return Array(raw) }
      return (try? compressor.compress(raw)) ?? []
    }
    text.removeAll(keepingCapacity: true)
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress! + done, bytes.count - done) }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return failure = count < 0 ? errno : EIO }
      done += count
    }
  }

  /// Writes what is left and closes the file. Any thread may.
  func finish() {
    let end = lock.withLock { () -> TraceEnd? in
      isOver = true
      guard !isClosed else { return nil }
      isClosed = true
      flush()
      close(descriptor)
      return TraceEnd(lines: lines, failure: failure)
    }
    if let end { onEnd(end) }
  }
}
