// PIIX3 IDE, as the guests use it: PIO and bus-master DMA, hard disks (LBA28 and LBA48) and ATAPI.

#ifndef IDE_H
#define IDE_H

#include "guest.h"

enum { IDE_PRIMARY = 0, IDE_SECONDARY = 1 };
enum { ATA_READ_PIO = 0x20, ATA_READ_PIO_EXT = 0x24, ATA_WRITE_PIO = 0x30, ATA_WRITE_PIO_EXT = 0x34, ATA_PACKET = 0xa0 };
enum { ATA_IDENTIFY_PACKET = 0xa1, ATA_READ_DMA = 0xc8, ATA_READ_DMA_EXT = 0x25, ATA_WRITE_DMA = 0xca };
enum { ATA_WRITE_DMA_EXT = 0x35, ATA_FLUSH = 0xe7, ATA_IDENTIFY = 0xec };

/// Enables the controller's I/O and bus-master functions, giving it addresses where no firmware has.
void ide_setup(void);
uint8_t ide_status(uint32_t channel);
/// Waits until the master of the channel is not busy; no if it never is.
int ide_ready(uint32_t channel);
/// Commands the channel's master. PIO transfers move `sectors` blocks of 512 bytes. Result: 1 when it went well.
int ide_pio(uint32_t channel, uint8_t command, uint64_t lba, void *buffer, uint32_t sectors);
int ide_dma(uint32_t channel, uint8_t command, uint64_t lba, void *buffer, uint32_t sectors);
/// Sends a 12-byte packet and reads up to `limit` bytes by PIO; the bytes read, or -1 with the error register in *error.
int ide_packet(uint32_t channel, const uint8_t packet[12], void *buffer, uint32_t limit, uint8_t *error);
/// The same by bus-master DMA.
int ide_packet_dma(uint32_t channel, const uint8_t packet[12], void *buffer, uint32_t size);

#endif
