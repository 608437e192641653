import Testing

@testable import Devices

/// Entropy and console.
@Suite struct VirtioSmallDevicesTests {
  private final class ConsoleBench {
    let bench: VirtioBench<VirtioConsole>
    var printed: [UInt8] = []
    var roomNotices = 0

    init(_ features: UInt64 = 1 << 29) throws {
      bench = try VirtioBench {
        VirtioConsole(memory: $0.memory, ports: $0.ports, clock: $0.time.clock, fabric: $0.fabric)
      }
      bench.device.onOutput = { [unowned self] in printed += $0 }
      bench.device.onReceiveRoom = { [unowned self] in roomNotices += 1 }
      bench.start(features)
    }
  }

  @Test func randomBytesFillTheBuffersAndAHugeOneGetsAShare() throws {
    let bench = try VirtioBench<VirtioEntropy>(counting: ())
    bench.start(1 << 29)
    let chain = bench.add(0, out: [], room: [100, 7])
    bench.kick(0)
    #expect(bench.takeUsed(0)?.written == 107)
    #expect(bench.content(chain, 107) == (1...107).map { UInt8($0) })
    bench.add(0, out: [], room: [1_000_000])
    bench.kick(0)
    #expect(bench.takeUsed(0)?.written == 4096)
  }

  @Test func theHostsGeneratorFillsBuffersDifferentlyEachTime() {
    var (first, second) = ([UInt8](repeating: 0, count: 64), [UInt8](repeating: 0, count: 64))
    first.withUnsafeMutableBytes { VirtioEntropy.hostRandom($0) }
    second.withUnsafeMutableBytes { VirtioEntropy.hostRandom($0) }
    #expect(first != second)
    #expect(first.contains { $0 != 0 })
  }

  @Test func whatTheGuestPrintsComesOutInOrder() throws {
    let console = try ConsoleBench()
    for text in ["Hello", ", ", "world"] {
      console.bench.add(1, out: [Array(text.utf8)])
      console.bench.kick(1)
    }
    #expect(console.printed == Array("Hello, world".utf8))
    #expect(console.bench.takeAllUsed(1).count == 3)
    console.bench.board.memory.writeIO(VirtioBench<VirtioConsole>.registers + 0x2008, size: 4, value: 0x21)
    #expect(console.printed.last == 0x21)
  }

  @Test func aFloodOfOutputIsPrintedInShares() throws {
    let console = try ConsoleBench()
    let line = [UInt8](repeating: 0x2E, count: 60_000)
    for _ in 0..<10 { console.bench.add(1, out: [line]) }
    console.bench.kick(1)
    #expect(console.printed.count < 600_000)
    console.bench.board.time.advance(milliseconds: 1)
    #expect(console.printed.count == 600_000)
  }

  @Test func whatIsTypedWaitsForBuffersAndForRoom() throws {
    let console = try ConsoleBench()
    #expect(console.bench.device.receive(Array("abc".utf8)) == 3)
    let chain = console.bench.add(0, out: [], room: [2])
    console.bench.kick(0)
    #expect(console.bench.takeUsed(0)?.written == 2)
    #expect(console.bench.content(chain, 2) == Array("ab".utf8))
    let paste = [UInt8](repeating: 0x78, count: 100_000)
    let taken = console.bench.device.receive(paste)
    #expect(taken == VirtioConsole.queueSize - 1)
    #expect(console.roomNotices == 0)
    // A saved state has what waits.
    console.bench.device.pause()
    let saved = try console.bench.device.save()
    let other = try ConsoleBench()
    try other.bench.device.load(saved)
    #expect(other.bench.device.receiveRoom == 0)
    console.bench.device.resume()
    console.bench.add(0, out: [], room: [4096])
    console.bench.kick(0)
    #expect(console.bench.takeUsed(0)?.written == 4096)
    #expect(console.roomNotices == 1)
  }
}
