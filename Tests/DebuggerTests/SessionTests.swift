import Foundation
import GuestAssembly
import Machine
import Testing

@testable import Debugger

/// A machine with a ROM of its own, as a debugger has it.
final class Bench: DebuggedMachine, @unchecked Sendable {
  let vm: VirtualMachine
  let file: String
  let stopped = DispatchSemaphore(value: 0)
  var isOff = false

  /// - Parameter code: real-mode code at F000:F000, that runs from the first instruction's jump on.
  init(_ code: String, cpus: Int = 1) throws {
    var image = [UInt8](repeating: 0xF4, count: 64 << 10)
    let bytes = try GuestCode.assemble(code, bits: 16, origin: 0xF000)
    image.replaceSubrange(0xF000..<0xF000 + bytes.count, with: bytes)
    image.replaceSubrange(0xFFF0..<0xFFF5, with: [0xEA, 0x00, 0xF0, 0x00, 0xF0])
    file = FileManager.default.temporaryDirectory.appendingPathComponent("vmctl-debugger-\(UUID().uuidString)").path
    try Data(image).write(to: URL(fileURLWithPath: file))
    var configuration = MachineConfiguration()
    configuration.memoryMB = 4
    configuration.vramMB = 1
    configuration.cpus = cpus
    configuration.firmware = file
    configuration.verifyCode = true
    vm = try VirtualMachine(configuration)
    vm.onEvent = { [stopped] event in if case .debuggerStop = event { stopped.signal() } }
    vm.start(paused: true)
  }

  deinit {
    vm.powerOff()
    try? FileManager.default.removeItem(atPath: file)
  }

  var debuggedMachine: VirtualMachine? { vm }
  var isRunning: Bool { vm.runState == .running }
  func pauseForDebugger() throws { vm.pause() }
  func resumeForDebugger() throws { vm.resume() }
  func powerOffForDebugger() { isOff = true }
  func resetForDebugger() throws { vm.reset() }
}

@Suite struct SessionTests {
  private func ask(_ session: GDBSession, _ text: String) -> String {
    guard case .reply(let reply) = session.take(Array(text.utf8)) else { return "?" }
    return reply
  }

  /// Goes on, and waits for a stop of a CPU's.
  private func goOn(_ session: GDBSession, _ bench: Bench) -> String {
    #expect(session.take(Array("c".utf8)) == .running)
    #expect(bench.stopped.wait(timeout: .now() + 120) == .success)
    return session.stop() ?? "no stop"
  }

  private static let loop = "xor cx, cx; top: inc cx; mov [0x500], cx; mov al, [0x600]; jmp top"

  @Test func itStepsInRealModeFromTheFirstInstruction() throws {
    let bench = try Bench(Self.loop)
    let session = try GDBSession(bench, .i8086)
    _ = ask(session, "qSupported:swbreak+;hwbreak+")
    // EIP is register 8, and linear.
    #expect(ask(session, "p8") == "f0ffffff")
    #expect(ask(session, "s") == "T05thread:1;")
    #expect(ask(session, "p8") == "00f00f00")
    #expect(ask(session, "vCont;s:1;c") == "T05thread:1;")
    #expect(ask(session, "p8") == "02f00f00")
    // ECX, and a range that the loop's body is.
    #expect(ask(session, "vCont;rff002,ff003:1;c") == "T05thread:1;")
    #expect(ask(session, "p1") == "01000000")
    #expect(ask(session, "p8") == "03f00f00")
    // CS, which is no debugger's to change; ESP, which is.
    #expect(ask(session, "pa") == "00f00000")
    #expect(ask(session, "Pa=00000000") == "E01")
    #expect(ask(session, "P4=00700000") == "OK" && ask(session, "p4") == "00700000")
  }

  @Test func breakpointsAndWatchpointsStopAndAreTold() throws {
    let bench = try Bench(Self.loop)
    let session = try GDBSession(bench, .i8086)
    _ = ask(session, "qSupported:swbreak+;hwbreak+")
    #expect(ask(session, "Z0,ff003,1") == "OK")
    for turn in 1...20 {
      #expect(goOn(session, bench) == "T05thread:1;swbreak:;")
      #expect(ask(session, "p8") == "03f00f00")
      #expect(ask(session, "p1") == Hex.text([UInt8(turn), 0, 0, 0]))
    }
    #expect(ask(session, "z0,ff003,1") == "OK")
    #expect(ask(session, "Z2,500,2") == "OK")
    #expect(goOn(session, bench) == "T05thread:1;watch:500;")
    #expect(ask(session, "p8") == "07f00f00")
    #expect(ask(session, "m500,2") == "1400")
    #expect(ask(session, "z2,500,2") == "OK")
    #expect(ask(session, "Z3,600,1") == "OK")
    #expect(goOn(session, bench) == "T05thread:1;rwatch:600;")
    #expect(ask(session, "z3,600,1") == "OK")
    // Memory that is none: a device, nothing; ROM can be read and not be written.
    #expect(ask(session, "ma0000,4") == "E14")
    #expect(ask(session, "mff000,2") == Hex.text(try GuestCode.assemble("xor cx, cx", bits: 16, origin: 0xF000)))
    #expect(ask(session, "Mff000,1:90") == "E14")
    #expect(ask(session, "M700,3:010203") == "OK" && ask(session, "m700,3") == "010203")
    #expect(ask(session, "m600,") == "E01" && ask(session, "mzz,1") == "E01")
  }

  @Test func anInterruptStopsAMachineThatRuns() throws {
    let bench = try Bench(Self.loop, cpus: 2)
    let session = try GDBSession(bench, .x86_64)
    #expect(ask(session, "qfThreadInfo") == "m1,2" && ask(session, "qsThreadInfo") == "l")
    #expect(session.take(Array("vCont;c".utf8)) == .running)
    #expect(bench.isRunning)
    // Nothing but an end of the run is answered meanwhile.
    #expect(ask(session, "g") == "E01")
    #expect(session.stop() == "T02thread:1;")
    #expect(!bench.isRunning)
    let halted = Hex.bytes(ask(session, "qThreadExtraInfo,2")[...]).map { String(decoding: $0, as: UTF8.self) }
    #expect(halted == "CPU 1 [halted]")
    #expect(ask(session, "T2") == "OK" && ask(session, "T3") == "E01" && ask(session, "Hg3") == "E01")
    // Detached, it runs on without stops.
    #expect(ask(session, "Z0,ff003,1") == "OK")
    #expect(session.take(Array("D".utf8)) == .end("OK"))
    session.leave(runs: true)
    #expect(bench.isRunning)
    #expect(bench.stopped.wait(timeout: .now() + 0.2) == .timedOut)
    bench.vm.pause()
    #expect(session.take(Array("k".utf8)) == .end("") && bench.isOff)
  }

  @Test func theDescriptionAndTheRegistersFit() throws {
    let bench = try Bench(Self.loop)
    for architecture in DebuggedArchitecture.allCases {
      let session = try GDBSession(bench, architecture)
      var text = ""
      while true {
        let piece = ask(session, "qXfer:features:read:target.xml:\(String(text.utf8.count, radix: 16)),400")
        text += piece.dropFirst()
        if piece.first == "l" { break }
        #expect(piece.first == "m" && piece.utf8.count == 0x401)
      }
      let sizes = text.matches(of: /<reg name="[a-z0-9_]+" bitsize="([0-9]+)"/).compactMap { Int($0.1) }
      #expect(text.hasSuffix("</target>\n") && sizes.count > 40)
      #expect(text.contains("org.gnu.gdb.i386.segments") == (architecture == .x86_64))
      #expect(ask(session, "g").count == sizes.reduce(0, +) / 4)
      #expect(ask(session, "G" + ask(session, "g")) == "OK")
      #expect(ask(session, "p\(String(sizes.count, radix: 16))") == "E01")
    }
  }

  /// Whatever comes, an answer goes, and the machine stays whole.
  @Test func wrongPacketsAreRefused() throws {
    let bench = try Bench(Self.loop)
    let session = try GDBSession(bench, .x86_64)
    let packets = [
      "", "p", "pffffffffffffffff", "P=", "P0=1", "P0=zz", "G", "G00", "m", "m0,ffffffff", "mffffffffffffffff,8",
      "M0,2:00", "Xzz", "X0,5:a", "Z", "Z0", "Z9,0,1", "Z2,0,0", "Z0,,", "H", "Hg", "T", "vCont;", "vCont;q", "vCont;r",
      "vCont;:", "vCont;;:;", "vCont;s:", "vCont;s:9", "vCont;r1:1", "qRcmd,0", "qRcmd,7a7a",
      "qXfer:features:read:other.xml:0,10", "qXfer:a",
      "qXfer:features:read:target.xml:ffffff,1",
      "cxyz", "qThreadExtraInfo,", "\u{7f}",
    ]
    for packet in packets {
      if case .reply = session.take(Array(packet.utf8)) { continue }
      // What stands for "go on" is one of these.
      #expect(packet.hasPrefix("vCont"), "\(packet)")
      _ = session.stop()
    }
    for number in 0..<5000 { _ = ask(session, "Z0,\(String(number, radix: 16)),1") }
    #expect(ask(session, "Z0,20000,1") == "E0c")
    #expect(ask(session, "?") == "T05thread:1;")
  }
}
