import Foundation
import Testing

@testable import Machine
@testable import Teleport

/// Where a stream ends: behind so many frames, or behind the first of a type.
private enum Cut {
  case frames(Int)
  case type(Wire.FrameType)

  func isBehind(_ passed: [Wire.FrameType]) -> Bool {
    switch self {
    case .frames(let count): passed.count >= count
    case .type(let type): passed.last == type
    }
  }
}

/// Lies between a source and its target and passes on the source's frames up to a place; then nothing passes any more and
/// both see the connection end. Only the first connection after `cut(at:)` is cut.
private final class FrameCutter: @unchecked Sendable {
  private(set) var port = 0
  private let target: Int
  private let listener: Int32
  private let lock = NSLock()
  private var place: Cut?
  private var passed: [Wire.FrameType] = []

  init(to target: Int) {
    self.target = target
    listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = Self.loopback(0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let file = listener
    _ = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(file, $0, length) == 0 && listen(file, 16) == 0 && getsockname(file, $0, &length) == 0
      }
    }
    port = Int(UInt16(bigEndian: address.sin_port))
    Thread { [self] in
      while true {
        let one = accept(file, nil, nil)
        guard one >= 0 else { return }
        join(one)
      }
    }.start()
  }

  func end() {
    shutdown(listener, Int32(SHUT_RDWR))
    close(listener)
  }

  func cut(at place: Cut) {
    lock.withLock {
      self.place = place
      passed = []
    }
  }

  /// What has crossed on the connection that was cut.
  var frames: [Wire.FrameType] { lock.withLock { passed } }

  private static func loopback(_ port: Int) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(UInt16(port).bigEndian)
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    return address
  }

  private func join(_ one: Int32) {
    let other = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = Self.loopback(target)
    _ = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(other, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    let place = lock.withLock {
      defer { self.place = nil }
      return self.place
    }
    let group = DispatchGroup()
    let isCut = Flag()
    func run(_ body: @escaping @Sendable () -> Void) {
      group.enter()
      Thread {
        body()
        for end in [one, other] { shutdown(end, Int32(SHUT_RDWR)) }
        group.leave()
      }.start()
    }
    run { [self] in passFrames(one, other, place, isCut) }
    run {
      var bytes = [UInt8](repeating: 0, count: 65536)
      while case let count = recv(other, &bytes, bytes.count, 0), count > 0, !isCut.isSet {
        Self.sendAll(one, bytes[..<count])
      }
    }
    group.notify(queue: .global()) { for end in [one, other] { close(end) } }
  }

  private func passFrames(_ from: Int32, _ to: Int32, _ place: Cut?, _ isCut: Flag) {
    var held: [UInt8] = []
    var bytes = [UInt8](repeating: 0, count: 65536)
    var seen: [Wire.FrameType] = []
    var isOpening = true
    while !(place?.isBehind(seen) ?? false) {
      guard let length = Self.pieceLength(held, isOpening) else {
        let got = recv(from, &bytes, bytes.count, 0)
        guard got > 0 else { return }
        held += bytes[..<got]
        continue
      }
      if !isOpening, let type = Wire.FrameType(rawValue: held[0]), let place {
        seen.append(type)
        lock.withLock { passed = seen }
        // The answer to the last frame does not come through.
        if place.isBehind(seen) { isCut.set() }
      }
      isOpening = false
      Self.sendAll(to, held[..<length])
      held.removeFirst(length)
    }
  }

  /// The bytes of the opening or of the first frame, when all of them are there.
  private static func pieceLength(_ held: [UInt8], _ isOpening: Bool) -> Int? {
    if isOpening { return held.count >= Wire.preface.count ? Wire.preface.count : nil }
    guard held.count >= Wire.headerBytes else { return nil }
    let length = (0..<4).reduce(0) { $0 | Int(held[4 + $1]) << (8 * $1) } + Wire.headerBytes
    return held.count >= length ? length : nil
  }

  private static func sendAll(_ to: Int32, _ bytes: ArraySlice<UInt8>) {
    var rest = bytes
    while !rest.isEmpty {
      let sent = rest.withUnsafeBytes { send(to, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      guard sent > 0 else { return }
      rest = rest.dropFirst(sent)
    }
  }

  private final class Flag: @unchecked Sendable {
    private let lock = NSLock()
    private var value = false
    var isSet: Bool { lock.withLock { value } }
    func set() { lock.withLock { value = true } }
  }
}

@Suite(.serialized) struct CutStreamTests {
  @Test func aStreamThatEndsBehindAnyFrameBeforeTheDecisionLeavesTheSourceRunningAndTheTargetWaiting() async throws {
    let pair = try Pair()
    let wire = FrameCutter(to: pair.port)
    defer { wire.end() }
    // How many frames there are before the decision depends on what the machine writes meanwhile.
    let types: [Wire.FrameType] = [.hello, .hardware, .pages, .roundEnd, .devices, .verify, .prepare]
    let cuts = types.map { Cut.type($0) } + (0..<1000).map { Cut.frames($0) }
    for cut in cuts {
      let result = await attempt(pair, wire, cut)
      guard case .failure(let error) = result else {
        if case .type = cut { Issue.record("the source did not keep the machine: cut at \(cut)") }
        break
      }
      #expect(error is TeleportError, "\(error)")
      await pair.expectKept("cut at \(cut)")
      #expect(cut.isBehind(wire.frames) && !wire.frames.contains(.commit), "cut at \(cut)")
    }
    // The transfer that got its decision through went through, though its connection was cut as well.
    let arrived = try await onThread { [target = pair.target] in try target.run() }
    #expect(arrived.isIntact() && arrived.teleportState == .running)
    #expect(pair.machine.teleportState == .paused && pair.medium.mostRunning == 1)
    arrived.powerOff()
    pair.target.stop()
  }

  private func attempt(_ pair: Pair, _ wire: FrameCutter, _ place: Cut) async -> Result<Void, any Error> {
    while true {
      wire.cut(at: place)
      let source = pair.source(port: wire.port)
      let result = await Task { try await onThread { _ = try source.run() } }.result
      // The target may not have seen yet that the last attempt is over.
      if case .failure(let error) = result, case .busy = error as? TeleportError {
        try? await Task.sleep(for: .milliseconds(5))
        continue
      }
      return result
    }
  }
}
